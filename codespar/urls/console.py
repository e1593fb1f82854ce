"""The `console` service: the whole REST surface for people, the admin, and where rails send their notices."""

from codespar.alerts import urls as alerts
from codespar.audit import urls as audit
from codespar.console.urls import urlpatterns as pages
from codespar.identity import urls as identity
from codespar.urls import shared
from ledger import urls as ledger
from mandates import urls as mandates
from rails import urls as rails
from wallets import urls as wallets

urlpatterns = [
    *shared.urlpatterns,
    *rails.people,
    *rails.notices,
    *mandates.people,
    *wallets.people,
    *identity.urlpatterns,
    *ledger.urlpatterns,
    *audit.urlpatterns,
    *alerts.urlpatterns,
    *pages,
]

handler404 = "codespar.problems.not_found"
handler500 = "codespar.problems.server_error"
