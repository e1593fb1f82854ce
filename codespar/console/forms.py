"""The log-in form: e-mail, password and one-time code, all three at once."""

from typing import Any

from django import forms
from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
from unfold.forms import AuthenticationForm
from unfold.widgets import BASE_INPUT_CLASSES

# One sentence for every reason: which of the three was wrong is nobody's business.
REFUSED = (
    "That did not work: check e-mail, password and code. "
    "A code is good for 30 seconds and only once; after several wrong ones, wait a little."
)


class LoginForm(AuthenticationForm):
    """`username` is the member's e-mail address, `otp` the authenticator's six digits."""

    otp = forms.CharField(
        label="One-time code",
        max_length=7,
        widget=forms.TextInput(
            attrs={
                "autocomplete": "one-time-code",
                "inputmode": "numeric",
                "placeholder": "6 digits",
                "class": " ".join(BASE_INPUT_CLASSES),
            }
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].label = "E-mail"
        self.fields["username"].widget.attrs |= {"autocomplete": "username", "inputmode": "email"}

    def clean_otp(self) -> str:
        """Authenticators show `123 456`."""
        return str(self.cleaned_data["otp"]).replace(" ", "")

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = self.cleaned_data
        username, password, otp = data.get("username"), data.get("password"), data.get("otp")
        if username and password and otp:
            self.user_cache = authenticate(self.request, username=username, password=password, otp=otp)
            if self.user_cache is None:
                raise ValidationError(REFUSED, code="invalid_login")
            self.confirm_login_allowed(self.user_cache)
        return data
