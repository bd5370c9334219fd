"""`python -m agent.settings`: write the table of settings into the README anew."""

from agent.settings.table import README, with_reference

README.write_text(with_reference(README.read_text(encoding="utf-8")), encoding="utf-8")
