"""The table of providers: ours by name, others' by entry point, a hint where a name is wrong."""

import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from unitrack import providers
from unitrack.errors import ConfigError
from unitrack.wire import Provider

from . import lines

ACME = """
    from attrs import frozen

    @frozen(kw_only=True)
    class Acme:
        name = "acme"
        base_url = "https://api.acme.example"
        capabilities = None
        def encode(self, message): ...
        def request(self, parts, now): ...
        def outcomes(self, response, parts): ...
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a package that announces providers: a folder with what pip would leave there."""

    def make(package: str, code: str, **announced: str) -> None:
        site = tmp_path / package
        about = site / f"{package}-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {value}\n" for name, value in announced.items())
        (about / "entry_points.txt").write_text(f"[unitrack.providers]\n{lines}")
        (site / f"{package}.py").write_text(textwrap.dedent(code))
        monkeypatch.syspath_prepend(site)
        monkeypatch.delitem(sys.modules, package, raising=False)

    return make


def test_every_name_in_the_table_is_the_one_its_class_goes_by() -> None:
    assert {name: providers.find(name).name for name in providers.BUILT_IN} == {n: n for n in providers.BUILT_IN}


@pytest.mark.parametrize(("name", "cls"), providers.BUILT_IN.items())
def test_every_provider_in_the_table_can_be_imported_by_its_class_name(name: str, cls: str) -> None:
    assert getattr(providers, cls) is providers.find(name)
    assert providers.find(name).__name__ == cls
    assert cls in providers.__all__
    assert cls in dir(providers)


def test_type_checkers_see_every_provider_in_the_table() -> None:
    code = Path(providers.__file__).read_text(encoding="utf-8")
    for name, cls in providers.BUILT_IN.items():
        assert f"    from .{name} import {cls} as {cls}\n" in code


def test_one_provider_is_loaded_without_the_others() -> None:
    code = "import sys; from unitrack.providers import Webhook; print(*(m for m in sys.modules if '.providers.' in m))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["unitrack.providers.webhook"]


def test_a_class_that_is_not_there_gets_the_nearest() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Hightuch' \(did you mean 'Hightouch'\?\)"):
        _ = providers.Hightuch


def test_the_four_that_unitrack_is_for_and_the_webhook_are_in_the_table() -> None:
    assert {"hightouch", "interakt", "suprsend", "thrivestack", "webhook"} <= set(providers.names())


def test_a_name_that_nobody_has_gets_the_nearest_and_the_list() -> None:
    with pytest.raises(ConfigError, match=r"no provider 'hightuch' \(did you mean 'hightouch'\?\); known: .*webhook"):
        providers.find("hightuch")


def test_a_package_adds_a_provider_by_an_entry_point(install: Install) -> None:
    install("acme_unitrack", ACME, acme="acme_unitrack:Acme")
    assert "acme" in providers.names()
    assert isinstance(providers.find("acme")(), Provider)


def test_a_package_is_not_loaded_before_its_name_is_asked_for(install: Install) -> None:
    install("acme_unitrack", "raise RuntimeError('loaded')", acme="acme_unitrack:Acme")
    assert "acme" in providers.names()
    assert providers.find("webhook") is providers.Webhook
    with pytest.raises(ConfigError, match=r"no provider 'acne' .*did you mean 'acme'"):
        providers.find("acne")
    assert "acme_unitrack" not in sys.modules


def test_a_package_cannot_take_one_of_our_names(install: Install) -> None:
    install("acme_unitrack", ACME, hightouch="acme_unitrack:Acme")
    assert providers.find("hightouch") is providers.Hightouch


def test_two_packages_with_one_name_are_an_error_that_names_both(install: Install) -> None:
    install("acme_unitrack", ACME, acme="acme_unitrack:Acme")
    install("other_acme", ACME, acme="other_acme:Acme")
    with pytest.raises(ConfigError, match="claimed by acme_unitrack:Acme and other_acme:Acme"):
        providers.find("acme")


@pytest.mark.parametrize(
    ("code", "value", "sentence"),
    [
        ("import no_such_module", "acme_unitrack:Acme", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemError('broken')", "acme_unitrack:Acme", "cannot be loaded .* SystemError: broken"),
        ("Acme = 3", "acme_unitrack:Acme", r"\(acme_unitrack:Acme\) is no class"),
        ("class Acme: name = 'acme'", "acme_unitrack:Acme", "lacks encode, request, outcomes; see"),
        ("", "acme_unitrack:Acme", "AttributeError"),
    ],
)
def test_a_package_that_is_broken_is_named(install: Install, code: str, value: str, sentence: str) -> None:
    install("acme_unitrack", code, acme=value)
    with pytest.raises(ConfigError, match=sentence) as caught:
        providers.find("acme")
    assert "'acme'" in str(caught.value)


def test_how_long_providers_are_is_printed_and_most_are_short(capsys: pytest.CaptureFixture[str]) -> None:
    lines.main()
    *_, told = capsys.readouterr().out.splitlines()
    short = re.fullmatch(r"Median of 13: (\d+) lines for a module with its test, \d+ with neighbours\.", told)
    assert short is not None
    assert int(short[1]) <= 100
