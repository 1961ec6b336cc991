from __future__ import annotations

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from typer.testing import CliRunner

from gatepost.cli.key import app


def test_a_password_becomes_a_hash_that_verifies_it_and_is_not_shown() -> None:
    done = CliRunner().invoke(app, ["hash-password"], input="correct horse\n")
    assert done.exit_code == 0
    assert "correct horse" not in done.output
    name, _, phc = done.output.strip().partition("  ")
    assert name == "argon2"
    Argon2id.verify_phc_encoded(b"correct horse", phc)


def test_no_password_is_none() -> None:
    assert CliRunner().invoke(app, ["hash-password"], input="\n").exit_code == 2
