"""docs/cli.md is what `orders --help` says."""

from tests.operate.documented import FILE, brought_up_to_date, documented, helps


def test_the_help_in_the_document_is_the_commands_own() -> None:
    """`python -m tests.operate.documented` brings it up to date."""
    assert brought_up_to_date(FILE.read_text()) == FILE.read_text()


def test_every_command_is_documented_once() -> None:
    """No verb is left out."""
    assert sorted(documented(FILE.read_text())) == sorted(helps())


def test_every_verb_has_an_example() -> None:
    """Its help shows how it is used, and the options that CI needs."""
    groups = {"", *(words.rpartition(" ")[0] for words in helps())}
    for words, text in helps().items():
        if words not in groups:
            assert f"orders{words}" in text.partition("Example")[2], words
            assert "--json" in text, words
