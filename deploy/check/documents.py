"""documents: what is checked, as texts and as plain values.

Comes in: the working tree. Goes out: texts by path; policies with their placeholders filled in; the
CloudFormation stack with its functions worked out. Why texts: a mutant is then one replaced word, and every
check reads the mutated text as it reads the real one.
"""

import json
import re
from pathlib import Path

from cfnlint.decode import decode_str

STACK = "deploy/cloudformation/stack.yaml"
MAIN, VARIABLES, OUTPUTS = (f"deploy/terraform/{name}.tf" for name in ("main", "variables", "outputs"))
AGENT, AGENT_KMS, OPERATOR, BUCKET, TRUST = (
    f"deploy/iam/{name}.json" for name in ("agent", "agent-kms", "operator", "bucket", "trust")
)
README = "README.md"
PATTERNS = ("deploy/iam/*.json", STACK, "deploy/terraform/*.tf", README, "agent/src/**/*.rs")

REGION, ACCOUNT = "eu-central-1", "123456789012"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0a1b2c3d"
PLAIN = {
    "BucketName": "sample-bucket",
    "Prefix": "clusters/one",
    "TableName": "requorum",
    "KmsKeyArn": "",
    "NoncurrentDays": 7,
}
WITH_KEY = PLAIN | {"KmsKeyArn": KEY, "NoncurrentDays": 30}
NOTHING = object()


def read(root):
    """All texts, by their path below the root."""
    texts = {}
    for pattern in PATTERNS:
        for path in sorted(root.glob(pattern)):
            texts[str(path.relative_to(root))] = path.read_text(encoding="utf-8")
    return texts


def here():
    """The root of the working tree that this file is in."""
    return Path(__file__).resolve().parents[2]


def said(check, texts):
    """What a check says; also where it can't look because something is missing or can't be read."""
    try:
        return check(texts)
    except ValueError as error:
        return [str(error)]
    except KeyError as error:
        return [f"deploy/: {error} is not there, and {check.__module__} has to look at it; put it back"]


def placeholders(settings, bucket, table):
    """What the placeholders of deploy/iam stand for."""
    return {
        "Bucket": bucket,
        "Prefix": settings["Prefix"],
        "Table": table,
        "Region": REGION,
        "Account": ACCOUNT,
        "KmsKeyArn": settings["KmsKeyArn"],
    }


def real_names(settings):
    """The placeholders once bucket and table have been made."""
    return placeholders(settings, settings["BucketName"], settings["TableName"])


def parsed(texts, path):
    """A policy as it stands."""
    try:
        return json.loads(texts[path])
    except ValueError as error:
        raise ValueError(f"{path}: it is no JSON ({error}); mend it") from error


def policy(texts, path, names):
    """A policy with its placeholders filled in."""
    unknown = set(re.findall(r"\$\{(\w+)\}", texts[path])) - names.keys()
    if unknown:
        raise ValueError(f"{path}: the placeholders {sorted(unknown)} are not known; see deploy/README.md")
    filled = re.sub(r"\$\{(\w+)\}", lambda found: names[found[1]], texts[path])
    return parsed({path: filled}, path)


def as_list(value):
    """IAM takes one value for a list of one."""
    return value if isinstance(value, list) else [value]


def template(texts):
    """The stack as cfn-lint reads it."""
    decoded, problems = decode_str(texts[STACK])
    if problems:
        raise ValueError(f"{STACK}: it can't be read ({problems[0].message}); mend the YAML")
    return decoded


def resources(texts, settings, names=None):
    """The resources that the stack makes with these settings, all functions worked out. A reference to
    another resource becomes `@` and its name, unless `names` says what it is called."""
    stack = template(texts)
    known = {name: f"@{name}" for name in stack["Resources"]} | settings | (names or {})
    known |= {"AWS::Region": REGION, "AWS::AccountId": ACCOUNT, "AWS::NoValue": NOTHING}
    conditions = {name: holds(node, known) for name, node in stack.get("Conditions", {}).items()}
    made = {}
    for name, resource in stack["Resources"].items():
        if conditions.get(resource.get("Condition"), True):
            made[name] = resolve({k: v for k, v in resource.items() if k != "Condition"}, known, conditions)
    return made


def holds(node, known):
    """Whether a condition is met."""
    (function, argument), = node.items()
    if function == "Fn::Not":
        return not holds(argument[0], known)
    one, other = (resolve(side, known, {}) for side in node["Fn::Equals"])
    return one == other


def resolve(node, known, conditions):
    """A value of the stack without functions."""
    if isinstance(node, list):
        values = [resolve(item, known, conditions) for item in node]
        return [value for value in values if value is not NOTHING]
    if not isinstance(node, dict):
        return node
    if len(node) == 1:
        (function, argument), = node.items()
        if function == "Ref":
            return known[argument]
        if function == "Fn::Sub":
            return re.sub(r"\$\{([\w:]+)\}", lambda found: str(known[found[1]]), argument)
        if function == "Fn::If":
            chosen = argument[1] if conditions[argument[0]] else argument[2]
            return resolve(chosen, known, conditions)
        if function.startswith("Fn::"):
            raise ValueError(f"{STACK}: {function} is not known to deploy/check/documents.py; teach it, or do without")
    values = {key: resolve(value, known, conditions) for key, value in node.items()}
    return {key: value for key, value in values.items() if value is not NOTHING}
