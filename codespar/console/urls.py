"""The console's addresses."""

from django.urls import path

from codespar.console.site import site

urlpatterns = [path("admin/", site.urls)]
