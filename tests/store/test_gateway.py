"""Which URLs are gateways."""

import pytest

from modelreg.errors import InputError
from modelreg.store.gateway import Gateway


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h",
        "http://",
        "h:80",
        "http://h:99999",
        "http://h:0",
        "http://[bad",
        "http://h?",
        "http://h/admin#",
        "http://user:word@h",
        "http://h\\@other",
        "http://h/api/v0/shutdown?",
    ],
)
def test_what_is_no_gateway(url):
    with pytest.raises(InputError, match="not a gateway"):
        Gateway(url)


def test_the_name_is_the_origin():
    assert Gateway("https://[::1]:8080/below/").name == "https://[::1]:8080"
    assert Gateway("https://[::1]:8080/below/").path == "below"
    assert Gateway("http://h").path == ""
