"""What the tests of the command line share."""

from skmtl.__main__ import main


def fails(capsys, *argv, code=2):
    """Run, expect the exit code and one line on stderr; returns the line."""
    assert main([str(arg) for arg in argv]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("skmtl: ") and err.count("\n") == 1 and err.endswith("\n")
    assert "Traceback" not in err
    return err
