"""Addresses of identity, for people."""

from django.urls import path

from codespar.identity import views

urlpatterns = [
    path("v1/projects", views.Projects.as_view()),
    path("v1/projects/<str:project>", views.ProjectDetail.as_view()),
    path("v1/agents", views.Agents.as_view()),
    path("v1/agents/<str:agent>", views.AgentDetail.as_view()),
    path("v1/members", views.Members.as_view()),
    path("v1/members/<str:member>", views.MemberDetail.as_view()),
    path("v1/tokens", views.Tokens.as_view()),
    path("v1/tokens/<str:token>", views.TokenDetail.as_view()),
    path("v1/tokens/<str:token>/rotate", views.TokenRotate.as_view()),
]
