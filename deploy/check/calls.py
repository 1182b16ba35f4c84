"""calls: what the program calls, against what it is allowed.

Comes in: the adapters' sources and the policies. Goes out: one sentence for each call that no policy allows, each
action that no call needs, and each thing that should be refused and is not. The names of all calls come from
botocore, the judgement of a policy from moto.
"""

import json
import re

import botocore.session
from botocore import xform_name
from moto.iam.access_control import IAMPolicy, PermissionResult

from documents import AGENT, OPERATOR, PLAIN, as_list, parsed, policy, real_names

# The actions that each call needs (Service Authorization Reference; UploadPartCopy and TransactWriteItems: their
# own pages).
NEEDED = {
    "get_object": {"s3:GetObject"},
    "head_object": {"s3:GetObject"},
    "put_object": {"s3:PutObject"},
    "create_multipart_upload": {"s3:PutObject"},
    "upload_part": {"s3:PutObject"},
    "upload_part_copy": {"s3:GetObject", "s3:PutObject"},
    "complete_multipart_upload": {"s3:PutObject"},
    "abort_multipart_upload": {"s3:AbortMultipartUpload"},
    "list_objects_v2": {"s3:ListBucket"},
    "delete_object": {"s3:DeleteObject"},
    "query": {"dynamodb:Query"},
    "get_item": {"dynamodb:GetItem"},
    "update_item": {"dynamodb:UpdateItem"},
    "transact_write_items": {"dynamodb:UpdateItem", "dynamodb:ConditionCheckItem"},
    "describe_table": {"dynamodb:DescribeTable"},
    "create_table": {"dynamodb:CreateTable"},
}
# Made by `snapshot prune` and `create-table` alone.
OPERATORS = {"delete_object", "describe_table", "create_table"}

SAMPLE, BELOW = "arn:aws:s3:::sample-bucket", "arn:aws:s3:::sample-bucket/clusters/one"
TABLE = "arn:aws:dynamodb:eu-central-1:123456789012:table/requorum"
ALLOWED = [
    (AGENT, "s3:GetObject", f"{BELOW}/cluster.json"),
    (AGENT, "s3:PutObject", f"{BELOW}/u1/votes/0.json"),
    (AGENT, "s3:PutObject", f"{BELOW}/exported/etcd-snapshots/snapshot.db"),
    (AGENT, "s3:AbortMultipartUpload", f"{BELOW}/u1/inc/3/data/s.db"),
    (AGENT, "s3:ListBucket", SAMPLE),
    (AGENT, "dynamodb:ConditionCheckItem", TABLE),
    (OPERATOR, "s3:DeleteObject", f"{BELOW}/u1/inc/3/snap/9-abc.json"),
    (OPERATOR, "s3:DeleteObject", f"{BELOW}/u1/inc/3/data/s.pack"),
    (OPERATOR, "dynamodb:CreateTable", TABLE),
]
REFUSED = [
    (AGENT, "s3:GetObject", f"{SAMPLE}/clusters/other/cluster.json"),
    (AGENT, "s3:PutObject", f"{SAMPLE}/clusters/one.json"),
    (AGENT, "s3:DeleteObject", f"{BELOW}/u1/inc/3/data/s.db"),
    (AGENT, "s3:PutBucketVersioning", SAMPLE),
    (AGENT, "dynamodb:UpdateItem", f"{TABLE}-other"),
    (AGENT, "dynamodb:DeleteItem", TABLE),
    (OPERATOR, "s3:DeleteObject", f"{BELOW}/u1/votes/0.json"),
    (OPERATOR, "s3:DeleteObject", f"{BELOW}/u1/inc/3/plan/7-9-abc.json"),
    (OPERATOR, "s3:DeleteObject", f"{BELOW}/cluster.json"),
    (OPERATOR, "s3:DeleteObjectVersion", f"{BELOW}/u1/inc/3/data/s.db"),
    (OPERATOR, "dynamodb:DeleteTable", TABLE),
]


def as_called(texts):
    called = operations(texts)
    problems = [
        f"deploy/check/calls.py: the program calls {name}, which is not known here; say what it needs, and allow it"
        for name in sorted(called - NEEDED.keys())
    ]
    for path, names in ((AGENT, called - OPERATORS), (OPERATOR, called & OPERATORS)):
        needed = {action for name in names for action in NEEDED.get(name, ())}
        problems += compared(path, needed, granted(texts, path))
    return problems + judged(texts)


def operations(texts):
    """All in the sources that is named as a call of S3 or DynamoDB is, and takes nothing at first, as those do."""
    session = botocore.session.get_session()
    known = set()
    for service in ("s3", "dynamodb"):
        known |= {xform_name(name) for name in session.get_service_model(service).operation_names}
    called = set()
    for path, text in texts.items():
        if path.endswith(".rs"):
            called |= {name for name in re.findall(r"\.\s*([a-z0-9_]+)\(\)", text) if name in known}
    return called


def granted(texts, path):
    found = set()
    for statement in parsed(texts, path)["Statement"]:
        found |= set(as_list(statement["Action"]))
    return found


def compared(path, needed, granted):
    missing, idle = sorted(needed - granted), sorted(granted - needed)
    problems = [f"{path}: {action} is called and not allowed; allow it" for action in missing]
    return problems + [f"{path}: {action} is allowed and never called; take it out" for action in idle]


def judged(texts):
    """What each policy says to single requests."""
    names, problems = real_names(PLAIN), []
    for wanted, requests in ((True, ALLOWED), (False, REFUSED)):
        for path, action, resource in requests:
            judge = IAMPolicy(json.dumps(policy(texts, path, names)))
            is_allowed = judge.is_action_permitted(action, resource) == PermissionResult.PERMITTED
            if is_allowed != wanted:
                text = "allows" if is_allowed else "does not allow"
                problems.append(f"{path}: it {text} {action} on {resource}; mend its resources")
    return problems
