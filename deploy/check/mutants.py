"""mutants: documents that are wrong, each of which the check named beside it must refuse.

Comes in: the true texts. Goes out: one sentence for each mutant that was not refused, or could not be made. Why: a
check that can't fail checks nothing.
"""

from typing import Callable, NamedTuple

from calls import as_called
from created import as_created
from documents import AGENT, BUCKET, MAIN, OPERATOR, OUTPUTS, README, STACK, VARIABLES, said
from lint import linted
from policies import as_in_stack, sound
from terraform import as_in_terraform

S3 = "agent/src/adapters/s3.rs"


class Mutant(NamedTuple):
    """`old` becomes `new`, once; `check` must then say `word`."""

    check: Callable
    path: str
    old: str
    new: str
    word: str


MUTANTS = [
    Mutant(linted, STACK, "BillingMode: PAY_PER_REQUEST", "BillingMode: FREE", "FREE"),
    Mutant(linted, STACK, "!Ref NoncurrentDays", "!Ref NoSuchThing", "NoSuchThing"),
    Mutant(sound, AGENT, '"arn:aws:s3:::${Bucket}/${Prefix}/*"', '"*"', "all resources"),
    Mutant(sound, AGENT, '"s3:GetObject"', '"s3:Get*"', "wildcard"),
    Mutant(sound, AGENT, '"dynamodb:Query"', '"dynamodb:CreateTable"', "CreateTable"),
    Mutant(sound, AGENT, '"ListAndTellAbsentFromForbidden"', '"ReadAndWriteObjects"', "its own"),
    Mutant(sound, OPERATOR, '"PruneSnapshots"', '"Prune snapshots"', "not alphanumeric"),
    Mutant(sound, OPERATOR, '"PruneSnapshots"', '"ReadAndWriteObjects"', "its own"),
    Mutant(
        sound, AGENT, '"Action": "s3:ListBucket",',
        '"Action": "s3:ListBucket", "Condition": {"StringLike": {"s3:prefix": "${Prefix}/*"}},', "403",
    ),
    Mutant(sound, OPERATOR, '"Action": "s3:DeleteObject"', '"NotAction": "s3:x", "Action": "s3:DeleteObject"', "all but"),
    Mutant(sound, README, "ConditionCheckItem", "ConditionCheck", "not named"),
    Mutant(sound, AGENT, '"Effect": "Allow",', '"Effect": "Allow"', "no JSON"),
    Mutant(as_in_stack, AGENT, "${Prefix}", "${Folder}", "Folder"),
    Mutant(as_in_stack, STACK, "\nResources:\n", "\nResources\n", "mend the YAML"),
    Mutant(as_in_stack, STACK, "!Sub s3.${AWS::Region}.amazonaws.com", "!GetAtt Bucket.Arn", "Fn::GetAtt"),
    Mutant(as_in_stack, STACK, "s3:AbortMultipartUpload]", "s3:DeleteObject]", "NodePolicy"),
    Mutant(as_in_stack, STACK, "arn:aws:s3:::${Bucket}/${Prefix}/*", "arn:aws:s3:::${Bucket}/*", "NodePolicy"),
    Mutant(as_in_stack, STACK, "kms:Decrypt", "kms:Encrypt", "NodeKeyPolicy"),
    Mutant(as_in_stack, STACK, "    Condition: HasKey\n", "", "there is no key"),
    Mutant(as_in_stack, STACK, 'aws:SecureTransport: "false"', 'aws:SecureTransport: "true"', "BucketPolicy"),
    Mutant(as_in_stack, STACK, "Service: ec2.amazonaws.com", 'AWS: "*"', "NodeRole"),
    Mutant(as_in_stack, OPERATOR, ', "dynamodb:DescribeTable"', "", "OperatorPolicy"),
    Mutant(as_called, S3, ".list_objects_v2()", ".list_object_versions()", "list_object_versions"),
    Mutant(as_called, AGENT, '"dynamodb:ConditionCheckItem"', '"dynamodb:PutItem"', "ConditionCheckItem"),
    Mutant(as_called, AGENT, '"s3:GetObject", ', '"s3:GetObject", "s3:DeleteObject", ', "never called"),
    Mutant(as_called, AGENT, "${Prefix}/*", "*", "clusters/other"),
    Mutant(as_called, OPERATOR, "/*/inc/*/snap/*", "/*", "votes/0.json"),
    Mutant(as_created, STACK, "Status: Enabled\n      Ownership", "Status: Suspended\n      Ownership", "versioning"),
    Mutant(as_created, STACK, "BlockPublicPolicy: true", "BlockPublicPolicy: false", "public access"),
    Mutant(as_created, STACK, "BucketOwnerEnforced", "ObjectWriter", "ownership"),
    Mutant(as_created, STACK, '"aws:kms", AES256', '"aws:kms", "aws:kms"', "encryption"),
    Mutant(as_created, STACK, "DaysAfterInitiation: 3", "DaysAfterInitiation: 300", "parts of an upload"),
    Mutant(as_created, STACK, "NoncurrentDays: !Ref NoncurrentDays", "NoncurrentDays: 3650", "noncurrent versions"),
    Mutant(as_created, STACK, "            ExpiredObjectDeleteMarker: true\n", "", "delete markers"),
    Mutant(as_created, STACK, "- Id: incomplete-uploads", "- Id: incomplete-uploads\n            Prefix: x", "scope"),
    Mutant(as_created, STACK, "AttributeName: sk\n          KeyType", "AttributeName: pk\n          KeyType", "keys"),
    Mutant(as_created, STACK, "PointInTimeRecoveryEnabled: true", "PointInTimeRecoveryEnabled: false", "recovery"),
    Mutant(as_created, STACK, "DeletionProtectionEnabled: true", "DeletionProtectionEnabled: false", "protection"),
    Mutant(as_created, STACK, "BillingMode: PAY_PER_REQUEST", "BillingMode: PROVISIONED", "billing"),
    Mutant(as_created, STACK, "PolicyName: requorum-agent\n", "PolicyName: other\n", "role's policies"),
    Mutant(as_created, STACK, "[s3:GetObject, s3:PutObject", "[s3:GetObject, s3:DeleteObject", "role's policies"),
    Mutant(
        as_created, STACK, "      PolicyDocument: # deploy/iam/operator.json",
        "      Roles: [!Ref NodeRole]\n      PolicyDocument: # deploy/iam/operator.json", "have the operators",
    ),
    Mutant(as_created, STACK, "  Table:\n    Type", "  Locks:\n    Type", "put it back"),
    Mutant(as_created, STACK, "AWS::IAM::ManagedPolicy", "AWS::IAM::Nothing", "one managed policy"),
    Mutant(as_created, BUCKET, '"false"', '"true"', "bucket's policy"),
    Mutant(as_in_terraform, MAIN, 'status = "Enabled"\n  }\n}', 'status = "Suspended"\n  }\n}', "Versioning"),
    Mutant(as_in_terraform, MAIN, "block_public_acls       = true", "block_public_acls       = false", "BlockPublicAcls"),
    Mutant(as_in_terraform, MAIN, "    filter {}\n", '    filter {\n      prefix = "x"\n    }\n', "no counterpart"),
    Mutant(as_in_terraform, MAIN, "noncurrent_days = var.noncurrent_days", "noncurrent_days = 7", "NoncurrentDays"),
    Mutant(as_in_terraform, MAIN, 'range_key                   = "sk"', 'range_key                   = "row"', "KeySchema"),
    Mutant(as_in_terraform, MAIN, "    enabled = true\n", "    enabled = false\n", "PointInTime"),
    Mutant(as_in_terraform, MAIN, "  point_in_time_recovery {\n    enabled = true\n  }\n", "", "PointInTime"),
    Mutant(as_in_terraform, MAIN, "  deletion_protection_enabled = true\n", "", "DeletionProtection"),
    Mutant(as_in_terraform, MAIN, "prevent_destroy = true", "prevent_destroy = false", "DeletionPolicy"),
    Mutant(
        as_in_terraform, MAIN, '  hash_key  ', '  replica {\n    region_name = "x"\n  }\n  hash_key  ', "replica",
    ),
    Mutant(as_in_terraform, MAIN, "iam/agent.json", "iam/operator.json", "NodePolicy"),
    Mutant(as_in_terraform, MAIN, '"" ? 0 : 1', '"" ? 1 : 0', "NodeKeyPolicy"),
    Mutant(as_in_terraform, MAIN, '? "AES256" : "aws:kms"', '? "aws:kms" : "aws:kms"', "SSEAlgorithm"),
    Mutant(as_in_terraform, MAIN, "Prefix    = var.prefix", 'Prefix    = "x"', "NodePolicy"),
    Mutant(as_in_terraform, MAIN, "never planned or applied", "planned", "never applied"),
    Mutant(as_in_terraform, MAIN, "  lifecycle {", "  lifecycle = {{", "can't parse"),
    Mutant(as_in_terraform, VARIABLES, "default     = 7", "default     = 70", "noncurrent_days"),
    Mutant(as_in_terraform, OUTPUTS, 'output "lock_table"', 'output "table"', "lock_table"),
    Mutant(as_in_terraform, STACK, "    UpdateReplacePolicy: Retain\n", "", "UpdateReplacePolicy"),
]


def survivors(texts):
    """Mutants that were not refused, or not for the reason that they are wrong."""
    problems = []
    for mutant in MUTANTS:
        name = f"the mutant of {mutant.path} with `{mutant.new or 'nothing'}` for `{mutant.old}`"
        if mutant.old not in texts[mutant.path]:
            problems.append(f"deploy/check/mutants.py: {name} can't be made any more; mend or drop it")
            continue
        changed = texts | {mutant.path: texts[mutant.path].replace(mutant.old, mutant.new, 1)}
        heard = said(mutant.check, changed)
        if not any(mutant.word in problem for problem in heard):
            problems.append(f"deploy/check/{mutant.check.__module__}.py: {name} is not refused ({heard}); sharpen it")
    return problems
