"""What Django itself answers."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

# The admin's own login turns away everybody who is not staff.
login = LoginView.as_view(
    template_name="admin/login.html",
    extra_context={"title": "Sign in", "site_title": "Live orders", "site_header": "Live orders"},
    redirect_authenticated_user=True,
)

urlpatterns = [
    path("admin/", admin.site.urls),
    path("login/", login, name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
]
