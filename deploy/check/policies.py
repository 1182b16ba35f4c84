"""policies: the documents of deploy/iam, each for itself and against the stack.

Comes in: the texts. Goes out: one sentence for each grant that is too wide, missing, or different from what the
stack grants. Terraform reads the documents themselves, which `terraform` checks.
"""

import re

from documents import (
    AGENT, AGENT_KMS, BUCKET, OPERATOR, PLAIN, README, STACK, TRUST, WITH_KEY,
    as_list, parsed, placeholders, policy, resources,
)

ALL = (AGENT, AGENT_KMS, OPERATOR, BUCKET, TRUST)
# Where the stack has each of them.
IN_STACK = {
    AGENT: ("NodePolicy", "PolicyDocument"),
    AGENT_KMS: ("NodeKeyPolicy", "PolicyDocument"),
    OPERATOR: ("OperatorPolicy", "PolicyDocument"),
    BUCKET: ("BucketPolicy", "PolicyDocument"),
    TRUST: ("NodeRole", "AssumeRolePolicyDocument"),
}


def sound(texts):
    """Each document for itself."""
    problems, seen = [], {}
    for path in ALL:
        for statement in parsed(texts, path)["Statement"]:
            sid = statement.get("Sid", "")
            problems += named(path, sid, seen)
            if statement["Effect"] == "Allow":
                problems += narrow(path, sid, statement)
    return problems + listing(texts) + told(texts)


def named(path, sid, seen):
    """A Sid is alphanumeric (IAM) and stands for one effect."""
    problems = []
    if not re.fullmatch(r"[A-Za-z0-9]+", sid):
        problems.append(f"{path}: the Sid `{sid}` is not alphanumeric; give the statement one that is")
    if sid in seen:
        problems.append(f"{path}: the Sid `{sid}` is in {seen[sid]} too; give each statement its own")
    seen[sid] = path
    return problems


def narrow(path, sid, statement):
    """An Allow names its actions and resources."""
    actions = as_list(statement["Action"])
    only_describes = all(action.startswith("ec2:Describe") for action in actions)
    problems = []
    if "*" in as_list(statement.get("Resource", [])) and not only_describes:
        problems.append(f"{path}: {sid} allows all resources; name them (only ec2:Describe* can't)")
    if any("*" in action for action in actions) and not only_describes:
        problems.append(f"{path}: {sid} allows actions by a wildcard; name them")
    if "NotAction" in statement or "NotResource" in statement:
        problems.append(f"{path}: {sid} allows all but something; name what it allows")
    if path != OPERATOR and "dynamodb:CreateTable" in actions:
        problems.append(f"{path}: {sid} allows CreateTable; that belongs into {OPERATOR}")
    return problems


def listing(texts):
    """S3 answers 404 for a missing key only to whoever may list the bucket. Whether a GetObject meets a condition on
    `s3:prefix`, AWS does not say."""
    for statement in parsed(texts, AGENT)["Statement"]:
        if "s3:ListBucket" in as_list(statement["Action"]) and "Condition" not in statement:
            return []
    return [f"{AGENT}: ListBucket is not granted without a condition, and S3 may answer 403 for a missing key; grant it so"]


def told(texts):
    """README.md names all that is granted."""
    problems = []
    for path in (AGENT, AGENT_KMS, OPERATOR):
        for statement in parsed(texts, path)["Statement"]:
            for action in as_list(statement["Action"]):
                if not re.search(rf"\b{action.split(':')[1]}\b", texts[README]):
                    problems.append(f"{README}: {action} of {path} is not named; put it into the table of actions")
    return problems


def as_in_stack(texts):
    """The stack grants what the documents say, with a key of KMS and without."""
    problems = []
    for settings in (PLAIN, WITH_KEY):
        made = resources(texts, settings)
        names = placeholders(settings, "@Bucket", "@Table")
        for path, (resource, attribute) in IN_STACK.items():
            if path == AGENT_KMS and not settings["KmsKeyArn"]:
                problems += absent(made, resource)
                continue
            granted = made.get(resource, {}).get("Properties", {}).get(attribute)
            if granted != policy(texts, path, names):
                problems.append(f"{STACK}: {resource} does not grant what {path} says; make them equal")
    return sorted(set(problems))


def absent(made, resource):
    if resource in made:
        return [f"{STACK}: {resource} is made although there is no key; give it `Condition: HasKey`"]
    return []
