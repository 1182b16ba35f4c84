"""check: whether bucket, table, role and policies of deploy/ are what the program needs, and no more.

Comes in: deploy/ and the sources of this working tree; `.ci/tools-deploy` brings the libraries. Goes out: a line for
each check that passed, or a sentence for each finding, and 1. Reaches no network: moto is in this process.

    target/tools/deploy/bin/python3 -B deploy/check
"""

import os
import sys
import time

from calls import as_called
from created import as_created
from documents import here, read, said
from lint import linted
from mutants import MUTANTS, survivors
from policies import as_in_stack, sound
from terraform import as_in_terraform

CHECKS = [
    ("cfn-lint finds nothing in the stack", linted),
    ("each policy is narrow, and named in README.md", sound),
    ("the policies allow what the program calls, and no more", as_called),
    ("the stack grants what the policies say", as_in_stack),
    ("moto creates the stack, and what it creates is as it must be", as_created),
    ("Terraform's attributes are the stack's", as_in_terraform),
    (f"{len(MUTANTS)} mutants are refused", survivors),
]


def main():
    # a profile or an endpoint of whoever runs this must not lead past moto
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    texts, failed = read(here()), False
    for sentence, check in CHECKS:
        began = time.monotonic()
        problems = said(check, texts)
        failed = failed or bool(problems)
        if not problems:
            print(f"deploy: {sentence} ({time.monotonic() - began:.1f} s)")
        for problem in problems:
            print(problem, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
