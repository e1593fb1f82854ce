"""The `api` service: what agents call."""

from codespar.urls import shared
from mandates import urls as mandates
from rails import urls as rails
from wallets import urls as wallets

urlpatterns = [*shared.urlpatterns, *rails.agents, *mandates.agents, *wallets.agents]

handler404 = "codespar.problems.not_found"
handler500 = "codespar.problems.server_error"
