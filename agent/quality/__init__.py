"""How good the answers are: whom to judge, the judges, human labels, and an honest interval."""
