"""What Django itself answers."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpResponse
from django.urls import include, path

from . import tokens
from .pages import leading_to


class SignIn(LoginView):
    """For everybody: the admin's own login turns away who is not staff.

    Who is signed in sees the form as well. If it led on, as `?next=` says, to an image, other sites
    could see who is.
    """

    template_name = "admin/login.html"
    extra_context = {
        "title": "Sign in",
        "site_title": admin.site.site_title,
        "site_header": admin.site.site_header,
        # Or the template tells who is signed in that they are not authorized.
        "user": None,
    }

    def render_to_response(self, *args: Any, **kwargs: Any) -> HttpResponse:
        """The form, whose policy lets it lead to `LOGIN_REDIRECT_URL`."""
        response = super().render_to_response(*args, **kwargs)
        response["Content-Security-Policy"] = leading_to(settings.LOGIN_REDIRECT_URL)
        return response

    def get_success_url(self) -> str:
        """Where `?next=` leads, unless that is this page, which would look like a failure."""
        url = super().get_success_url()
        return self.get_default_redirect_url() if url == self.request.path else url


urlpatterns = [
    path("admin/", admin.site.urls),
    path("login/", SignIn.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("token/", include(tokens)),
]
