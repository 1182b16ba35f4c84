"""lint: the stack as cfn-lint sees it.

Comes in: the texts. Goes out: one sentence for each error and warning. What is for information only is left
out: it wants partitions other than `aws` (deploy/README.md says what to change there) and notes for machines.
"""

from cfnlint.api import lint
from documents import STACK


def linted(texts):
    found = lint(texts[STACK])
    return [f"{STACK}:{match.linenumber}: {match.message} (cfn-lint {match.rule.id}); mend it there" for match in found]
