"""The evaluation: everybody answers the same rows, and everything said is written down. It weighs nothing.

contest.py who answers what · beside.py perplexity and the judge · judge.py grades, and two answers in both orders ·
evidence.py what the gate needs · figures.py what people read · show.py tables.py page.py cli.py `trimtab eval show`.
"""
