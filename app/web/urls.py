"""What Django itself answers."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path


class SignIn(LoginView):
    """For everybody: the admin's own login turns away who is not staff."""

    template_name = "admin/login.html"
    extra_context = {
        "title": "Sign in",
        "site_title": admin.site.site_title,
        "site_header": admin.site.site_header,
    }
    redirect_authenticated_user = True

    def get_success_url(self) -> str:
        """Where `?next=` leads, unless that is this page, which Django takes for a loop."""
        url = super().get_success_url()
        return self.get_default_redirect_url() if url == self.request.path else url


urlpatterns = [
    path("admin/", admin.site.urls),
    path("login/", SignIn.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
]
