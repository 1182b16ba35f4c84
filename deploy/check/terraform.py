"""terraform: Terraform's files against the stack, attribute by attribute.

Comes in: the texts. Goes out: one sentence for each attribute that one of the two has and the other has not, or has
otherwise. python-hcl2 parses; nothing is planned or applied. Every attribute of both is looked at: one that is not
in the lists below is a finding too.
"""

import re

import hcl2
from hcl2.utils import SerializationOptions
from lark.exceptions import LarkError

from documents import (
    MAIN, OUTPUTS, PLAIN, STACK, VARIABLES, WITH_KEY, placeholders, policy, resources, template,
)

OPTIONS = SerializationOptions(with_comments=False, explicit_blocks=False, strip_string_quotes=True)

# What Terraform calls the stack's resources.
OBJECTS = {"aws_s3_bucket.requorum": "Bucket", "aws_dynamodb_table.requorum": "Table", "aws_iam_role.node": "NodeRole"}

S3, TABLE, IAM = "aws_s3_bucket", "aws_dynamodb_table.requorum", "aws_iam"
ENCRYPTION = f"{S3}_server_side_encryption_configuration.requorum.rule.0"
DEFAULT = f"{ENCRYPTION}.apply_server_side_encryption_by_default.0"
RULES = f"{S3}_lifecycle_configuration.requorum.rule"
BLOCK, STACK_BLOCK = f"{S3}_public_access_block.requorum", "Bucket.PublicAccessBlockConfiguration"
STACK_ENCRYPTION = "Bucket.BucketEncryption.ServerSideEncryptionConfiguration.0"
STACK_DEFAULT = f"{STACK_ENCRYPTION}.ServerSideEncryptionByDefault"
STACK_RULES = "Bucket.LifecycleConfiguration.Rules"

# An attribute of Terraform, and the one of the stack that must be the same.
COUNTERPARTS = {
    f"{S3}.requorum.bucket": "Bucket.BucketName",
    f"{S3}.requorum.lifecycle.0.prevent_destroy": "Bucket.DeletionPolicy",
    f"{S3}_versioning.requorum.versioning_configuration.0.status": "Bucket.VersioningConfiguration.Status",
    f"{S3}_ownership_controls.requorum.rule.0.object_ownership": "Bucket.OwnershipControls.Rules.0.ObjectOwnership",
    f"{BLOCK}.block_public_acls": f"{STACK_BLOCK}.BlockPublicAcls",
    f"{BLOCK}.block_public_policy": f"{STACK_BLOCK}.BlockPublicPolicy",
    f"{BLOCK}.ignore_public_acls": f"{STACK_BLOCK}.IgnorePublicAcls",
    f"{BLOCK}.restrict_public_buckets": f"{STACK_BLOCK}.RestrictPublicBuckets",
    f"{ENCRYPTION}.bucket_key_enabled": f"{STACK_ENCRYPTION}.BucketKeyEnabled",
    f"{DEFAULT}.sse_algorithm": f"{STACK_DEFAULT}.SSEAlgorithm",
    f"{DEFAULT}.kms_master_key_id": f"{STACK_DEFAULT}.KMSMasterKeyID",
    f"{RULES}.0.id": f"{STACK_RULES}.0.Id",
    f"{RULES}.0.status": f"{STACK_RULES}.0.Status",
    f"{RULES}.0.abort_incomplete_multipart_upload.0.days_after_initiation": (
        f"{STACK_RULES}.0.AbortIncompleteMultipartUpload.DaysAfterInitiation"
    ),
    f"{RULES}.1.id": f"{STACK_RULES}.1.Id",
    f"{RULES}.1.status": f"{STACK_RULES}.1.Status",
    f"{RULES}.1.noncurrent_version_expiration.0.noncurrent_days": (
        f"{STACK_RULES}.1.NoncurrentVersionExpiration.NoncurrentDays"
    ),
    f"{RULES}.1.expiration.0.expired_object_delete_marker": f"{STACK_RULES}.1.ExpiredObjectDeleteMarker",
    f"{S3}_policy.requorum.bucket": "BucketPolicy.Bucket",
    f"{S3}_policy.requorum.policy": "BucketPolicy.PolicyDocument",
    f"{TABLE}.name": "Table.TableName",
    f"{TABLE}.billing_mode": "Table.BillingMode",
    f"{TABLE}.hash_key": "Table.KeySchema.0.AttributeName",
    f"{TABLE}.range_key": "Table.KeySchema.1.AttributeName",
    f"{TABLE}.attribute.0.name": "Table.AttributeDefinitions.0.AttributeName",
    f"{TABLE}.attribute.0.type": "Table.AttributeDefinitions.0.AttributeType",
    f"{TABLE}.attribute.1.name": "Table.AttributeDefinitions.1.AttributeName",
    f"{TABLE}.attribute.1.type": "Table.AttributeDefinitions.1.AttributeType",
    f"{TABLE}.deletion_protection_enabled": "Table.DeletionProtectionEnabled",
    f"{TABLE}.point_in_time_recovery.0.enabled": "Table.PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled",
    f"{TABLE}.lifecycle.0.prevent_destroy": "Table.DeletionPolicy",
    f"{IAM}_role.node.description": "NodeRole.Description",
    f"{IAM}_role.node.assume_role_policy": "NodeRole.AssumeRolePolicyDocument",
    f"{IAM}_role_policy.node.name": "NodePolicy.PolicyName",
    f"{IAM}_role_policy.node.role": "NodePolicy.Roles.0",
    f"{IAM}_role_policy.node.policy": "NodePolicy.PolicyDocument",
    f"{IAM}_role_policy.node_key.name": "NodeKeyPolicy.PolicyName",
    f"{IAM}_role_policy.node_key.role": "NodeKeyPolicy.Roles.0",
    f"{IAM}_role_policy.node_key.policy": "NodeKeyPolicy.PolicyDocument",
    f"{IAM}_instance_profile.node.role": "NodeProfile.Roles.0",
    f"{IAM}_policy.operator.description": "OperatorPolicy.Description",
    f"{IAM}_policy.operator.policy": "OperatorPolicy.PolicyDocument",
}

# What only one of the two has to say: Terraform names what CloudFormation names itself, says by a resource of its
# own which bucket is meant, and what comes first.
ONLY_TERRAFORM = {
    f"{IAM}_role.node.name_prefix": "requorum-node-",
    f"{IAM}_instance_profile.node.name_prefix": "requorum-node-",
    f"{IAM}_policy.operator.name_prefix": "requorum-operator-",
    f"{S3}_lifecycle_configuration.requorum.depends_on.0": "${aws_s3_bucket_versioning.requorum}",
} | {
    f"{S3}_{part}.requorum.bucket": "@Bucket"
    for part in (
        "versioning", "ownership_controls", "public_access_block", "server_side_encryption_configuration",
        "lifecycle_configuration",
    )
}
ONLY_STACK = {
    "Table.KeySchema.0.KeyType": "HASH",
    "Table.KeySchema.1.KeyType": "RANGE",
    "Bucket.UpdateReplacePolicy": "Retain",
    "Table.UpdateReplacePolicy": "Retain",
    "BucketPolicy.DeletionPolicy": "Retain",
    "BucketPolicy.UpdateReplacePolicy": "Retain",
}


def as_in_terraform(texts):
    problems = said_at_its_head(texts) + parameters(texts) + outputs(texts)
    for settings in (PLAIN, WITH_KEY):
        problems += differences(of_terraform(texts, settings), of_stack(texts, settings))
    return sorted(set(problems))


def differences(terraform, stack):
    """Both as flat attributes; what Terraform has and the lists do not know is named by itself."""
    problems, renamed = [], {}
    for path, value in terraform.items():
        if path in ONLY_TERRAFORM:
            if value != ONLY_TERRAFORM[path]:
                problems.append(f"{MAIN}: {path} is {value} and must be {ONLY_TERRAFORM[path]}; mend it there")
            continue
        name = COUNTERPARTS.get(path)
        if name is None:
            problems.append(f"{MAIN}: {path} has no counterpart in {STACK}; add it there and to deploy/check/terraform.py")
            continue
        renamed[name] = "Retain" if path.endswith(".prevent_destroy") and value is True else value
    problems += [f"{MAIN}: {path} is missing; add it" for path in ONLY_TERRAFORM.keys() - terraform.keys()]
    renamed |= ONLY_STACK
    for name in sorted(renamed.keys() | stack.keys()):
        in_terraform, in_stack = renamed.get(name), stack.get(name)
        if in_terraform != in_stack:
            problems.append(f"{MAIN} and {STACK} differ in {name}: {in_terraform} and {in_stack}; make them equal")
    return problems


def of_stack(texts, settings):
    flat = {}
    for name, resource in resources(texts, settings).items():
        flat |= flattened(name, resource["Properties"])
        flat |= flattened(name, {key: value for key, value in resource.items() if key not in ("Type", "Properties")})
    return flat


def flattened(path, value):
    """Every leaf by its path. A policy is one leaf: it is compared as a whole."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or path.endswith("Document"):
        return {path: value}
    flat = {}
    for key, part in value.items():
        flat |= flattened(f"{path}.{key}", part)
    return flat


def of_terraform(texts, settings):
    known = variables(settings)
    files = parsed(texts, MAIN)
    names = {key: evaluated(value, known) for key, value in files["locals"][0]["names"].items()}
    flat = {}
    for kinds in files["resource"]:
        for kind, named in kinds.items():
            for name, resource in named.items():
                if evaluated(resource.pop("count", 1), known) == 1:
                    flat |= flattened(f"{kind}.{name}", resource)
    worked_out = {path: document(texts, value, names) or evaluated(value, known) for path, value in flat.items()}
    return {path: value for path, value in worked_out.items() if value is not None}


def parsed(texts, path):
    try:
        return hcl2.loads(texts[path], serialization_options=OPTIONS)
    except LarkError as error:
        raise ValueError(f"{path}: python-hcl2 can't parse it ({str(error).splitlines()[0]}); mend it") from error


def variables(settings):
    """The stack's parameters by Terraform's names, and what Terraform knows by itself."""
    known = {f"var.{snake(name)}": value for name, value in settings.items()}
    facts = placeholders(settings, "@Bucket", "@Table")
    return known | {
        "data.aws_region.current.id": facts["Region"],
        "data.aws_caller_identity.current.account_id": facts["Account"],
        "true": True,
        "false": False,
        "null": None,
    }


def snake(name):
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


def document(texts, value, names):
    """The policy that an attribute reads from deploy/iam, if it reads one."""
    found = re.fullmatch(
        r'\$\{(?:templatefile\("\$\{path\.module\}/\.\./(iam/[\w-]+\.json)", local\.names\)'
        r'|file\("\$\{path\.module\}/\.\./(iam/[\w-]+\.json)"\))\}',
        str(value),
    )
    return policy(texts, f"deploy/{found[1] or found[2]}", names if found[1] else {}) if found else None


def evaluated(value, known):
    """A value without expressions; of those there are references and choices by whether a variable is empty. What is
    neither stays as it stands, and so equals nothing."""
    found = re.fullmatch(r"\$\{(.*)\}", value) if isinstance(value, str) else None
    if not found:
        return value
    choice = re.fullmatch(r'(var\.\w+) == "" \? (\S+) : (\S+)', found[1])
    if choice:
        return term(choice[2] if known[choice[1]] == "" else choice[3], known, value)
    return term(found[1], known, value)


def term(text, known, otherwise):
    if text in known:
        return known[text]
    if re.fullmatch(r'"[^"]*"|\d+', text):
        return int(text) if text.isdigit() else text.strip('"')
    thing = re.fullmatch(r"(\w+\.\w+)\.(?:id|bucket|name)", text)
    return f"@{OBJECTS[thing[1]]}" if thing and thing[1] in OBJECTS else otherwise


def parameters(texts):
    """Both are asked for the same, with the same defaults, in the same words."""
    files = parsed(texts, VARIABLES)["variable"]
    in_terraform = {name: (one.get("default"), one["description"]) for part in files for name, one in part.items()}
    in_stack = {
        snake(name): (one.get("Default"), one["Description"]) for name, one in template(texts)["Parameters"].items()
    }
    return unequal(VARIABLES, "the parameter", in_terraform, in_stack)


def outputs(texts):
    """Both tell the same, in the same words."""
    files = parsed(texts, OUTPUTS)["output"]
    in_terraform = {name: one["description"] for part in files for name, one in part.items()}
    in_stack = {snake(name): one["Description"] for name, one in template(texts)["Outputs"].items()}
    return unequal(OUTPUTS, "the output", in_terraform, in_stack)


def unequal(path, what, in_terraform, in_stack):
    return [
        f"{path} and {STACK} differ in {what} {name}: {in_terraform.get(name)} and {in_stack.get(name)}; make them equal"
        for name in sorted(in_terraform.keys() | in_stack.keys())
        if in_terraform.get(name) != in_stack.get(name)
    ]


def said_at_its_head(texts):
    """Whoever applies it must know that nobody did before."""
    head = texts[MAIN].split("\nterraform {")[0]
    return [] if "never planned or applied" in head else [f"{MAIN}: its head does not say that it was never applied; say so"]
