import pytest

from lib.console import amount, block, run_job
from lib.errors import RunError, UserError


@pytest.mark.parametrize(("error", "code"), [(UserError("no", "do this"), 2), (RunError("no", "do this"), 1)])
def test_an_error_is_one_readable_message_and_its_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run_job(fail)
    assert ended.value.code == code
    assert capsys.readouterr().err == "error: no\n  do this\n"


def test_a_mistake_of_ours_keeps_its_traceback() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_job(fail)


def test_the_closing_block_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    block("done", {"bundle": "/b", "next": "serve"})
    assert capsys.readouterr().out == "\ndone\n  bundle  /b\n  next    serve\n"


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 kB"),
        (12_345, "12 kB"),
        (1_000_000, "1.0 MB"),
        (9_940_000, "9.9 MB"),
        (1_234_567_890, "1,235 MB"),
    ],
)
def test_bytes_for_a_person(size_bytes: int, text: str) -> None:
    assert amount(size_bytes) == text
