"""Addresses of events and of the endpoints that are told of them."""

from django.urls import path

from codespar.alerts import views

urlpatterns = [
    path("v1/events", views.Events.as_view()),
    path("v1/webhook-endpoints", views.Endpoints.as_view()),
    path("v1/webhook-endpoints/<str:endpoint>", views.EndpointDetail.as_view()),
    path("v1/webhook-endpoints/<str:endpoint>/rotate", views.EndpointRotate.as_view()),
    path("v1/webhook-endpoints/<str:endpoint>/test", views.EndpointTest.as_view()),
    path("v1/webhook-endpoints/<str:endpoint>/replay", views.EndpointReplay.as_view()),
    path("v1/webhook-endpoints/<str:endpoint>/deliveries", views.Deliveries.as_view()),
]
