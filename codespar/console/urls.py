"""The console's addresses."""

from django.urls import path
from django.views.generic import RedirectView

from codespar.console.site import site

# Whoever types the address of the console wants its pages.
urlpatterns = [path("", RedirectView.as_view(url="/admin/")), path("admin/", site.urls)]
