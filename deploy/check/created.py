"""created: the stack as moto creates it.

Comes in: the texts. Goes out: one sentence for each thing that is not as it must be, of what boto3 reads back.
moto's CloudFormation makes bucket, table, role, profile and policies, but passes over some attributes. Those are
sent here by the calls that CloudFormation makes for them, with what the stack says: so their form is judged by
botocore and moto too. What is created in AWS was never seen here.
"""

import json
import logging
import re
import warnings

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from moto import mock_aws

from documents import (
    AGENT, AGENT_KMS, BUCKET, OPERATOR, PLAIN, REGION, STACK, TRUST, WITH_KEY, policy, real_names, resources,
)

# moto says at each creation what it passes over: the bucket's policy, which is sent here
logging.getLogger("moto").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", message="Tried to parse", category=UserWarning)

NAMES = "agent/src/adapters/expressions.rs"


def as_created(texts):
    problems = []
    for settings in (PLAIN, WITH_KEY):
        with mock_aws():
            try:
                create(texts, settings)
                problems += inspected(texts, settings)
            except (ClientError, BotoCoreError) as error:
                problems.append(f"{STACK}: moto does not create it whole: {error}; mend what that names")
    return sorted(set(problems))


def client(service):
    return boto3.client(service, region_name=REGION)


def create(texts, settings):
    parameters = [{"ParameterKey": key, "ParameterValue": str(value)} for key, value in settings.items()]
    client("cloudformation").create_stack(
        StackName="requorum", TemplateBody=texts[STACK], Parameters=parameters, Capabilities=["CAPABILITY_IAM"]
    )
    names = {"Bucket": settings["BucketName"], "Table": settings["TableName"]}
    made = resources(texts, settings, names)
    send_of_bucket(made["Bucket"]["Properties"], made.get("BucketPolicy", {}).get("Properties"))
    recovery = made["Table"]["Properties"].get("PointInTimeRecoverySpecification")
    if recovery:
        name = settings["TableName"]
        client("dynamodb").update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=recovery)


def send_of_bucket(properties, bucket_policy):
    """What moto's CloudFormation passes over."""
    s3, bucket = client("s3"), properties["BucketName"]
    if "VersioningConfiguration" in properties:
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=properties["VersioningConfiguration"])
    if "PublicAccessBlockConfiguration" in properties:
        block = properties["PublicAccessBlockConfiguration"]
        s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=block)
    if "OwnershipControls" in properties:
        s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=properties["OwnershipControls"])
    if "BucketEncryption" in properties:  # moto takes it, but not the bucket key
        rules = [of_encryption(rule) for rule in properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]]
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules})
    if "LifecycleConfiguration" in properties:
        rules = [as_call(rule) for rule in properties["LifecycleConfiguration"]["Rules"]]
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    if bucket_policy:
        s3.put_bucket_policy(Bucket=bucket_policy["Bucket"], Policy=json.dumps(bucket_policy["PolicyDocument"]))


def of_encryption(rule):
    """A rule of CloudFormation on encryption as the API has it."""
    rule = dict(rule)
    return {"ApplyServerSideEncryptionByDefault": rule.pop("ServerSideEncryptionByDefault")} | rule


def as_call(rule):
    """A lifecycle rule of CloudFormation as the API has it."""
    rule = dict(rule)
    called = {"ID": rule.pop("Id"), "Filter": {"Prefix": rule.pop("Prefix", "")}}
    if "ExpiredObjectDeleteMarker" in rule:
        called["Expiration"] = {"ExpiredObjectDeleteMarker": rule.pop("ExpiredObjectDeleteMarker")}
    return called | rule


def inspected(texts, settings):
    found = bucket_facts(settings["BucketName"]) | table_facts(settings["TableName"]) | role_facts(settings)
    wanted = wanted_facts(texts, settings)
    return [
        f"{STACK}: {what} is {found.get(what)} and must be {value}; mend it there"
        for what, value in wanted.items()
        if found.get(what) != value
    ]


def wanted_facts(texts, settings):
    """What must be read back, whatever the stack says."""
    names = real_names(settings)
    hash_key, range_key = keys_of_code(texts)
    key = settings["KmsKeyArn"]
    policies = {"requorum-agent": policy(texts, AGENT, names)}
    if key:
        policies["requorum-agent-kms"] = policy(texts, AGENT_KMS, names)
    return {
        "the bucket's versioning": "Enabled",
        "the bucket's block of public access": {
            "BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True,
        },
        "the bucket's ownership": "BucketOwnerEnforced",
        "the bucket's encryption": ("aws:kms", key, True) if key else ("AES256", None, False),
        "days until parts of an upload are aborted": 3,
        "days until noncurrent versions go": settings["NoncurrentDays"],
        "whether expired delete markers go": True,
        "the scope of the bucket's lifecycle rules": [{"Prefix": ""}, {"Prefix": ""}],
        "the bucket's policy": policy(texts, BUCKET, names),
        "the table's keys": [(hash_key, "HASH", "S"), (range_key, "RANGE", "S")],
        "the table's billing": "PAY_PER_REQUEST",
        "the table's deletion protection": True,
        "the table's point-in-time recovery": "ENABLED",
        "the number of the table's replicas": 0,
        "who may take the role": policy(texts, TRUST, names),
        "the role's policies": policies,
        "the roles of the instance profile": 1,
        "the operators' policy": policy(texts, OPERATOR, names),
        "the number of those who have the operators' policy": 0,
    }


def keys_of_code(texts):
    """The key attributes as the program names them."""
    found = [re.search(rf'pub const {name}: &str = "(\w+)"', texts[NAMES]) for name in ("UID", "ROW")]
    if None in found:
        raise ValueError(f"{NAMES} names the table's keys no more; look for them in deploy/check/created.py")
    return [key[1] for key in found]


def bucket_facts(bucket):
    s3 = client("s3")
    rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    encryption = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    default = encryption["ApplyServerSideEncryptionByDefault"]
    ownership = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]

    def of_rules(part, name):
        values = [rule[part][name] for rule in rules if rule["Status"] == "Enabled" and name in rule.get(part, {})]
        return values[0] if values else None

    return {
        "the bucket's versioning": s3.get_bucket_versioning(Bucket=bucket).get("Status"),
        "the bucket's block of public access": s3.get_public_access_block(Bucket=bucket)[
            "PublicAccessBlockConfiguration"
        ],
        "the bucket's ownership": ownership[0]["ObjectOwnership"],
        "the bucket's encryption": (
            default["SSEAlgorithm"], default.get("KMSMasterKeyID"), encryption.get("BucketKeyEnabled", False),
        ),
        "days until parts of an upload are aborted": of_rules("AbortIncompleteMultipartUpload", "DaysAfterInitiation"),
        "days until noncurrent versions go": of_rules("NoncurrentVersionExpiration", "NoncurrentDays"),
        "whether expired delete markers go": of_rules("Expiration", "ExpiredObjectDeleteMarker"),
        "the scope of the bucket's lifecycle rules": [rule["Filter"] for rule in rules],
        "the bucket's policy": json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"]),
    }


def table_facts(name):
    dynamodb = client("dynamodb")
    table = dynamodb.describe_table(TableName=name)["Table"]
    backups = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    kinds = {attribute["AttributeName"]: attribute["AttributeType"] for attribute in table["AttributeDefinitions"]}
    return {
        "the table's keys": [
            (key["AttributeName"], key["KeyType"], kinds[key["AttributeName"]]) for key in table["KeySchema"]
        ],
        "the table's billing": table["BillingModeSummary"]["BillingMode"],
        "the table's deletion protection": table["DeletionProtectionEnabled"],
        "the table's point-in-time recovery": backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"],
        "the number of the table's replicas": len(table.get("Replicas", [])),
    }


def only(found, what):
    if len(found) != 1:
        raise ValueError(f"{STACK}: it makes {len(found)} of one {what}; make just one")
    return found[0]


def role_facts(settings):
    iam = client("iam")
    role = only(iam.list_roles()["Roles"], "role")
    names = iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]
    profile = only(iam.list_instance_profiles()["InstanceProfiles"], "instance profile")
    operators = only(iam.list_policies(Scope="Local")["Policies"], "managed policy")
    version = iam.get_policy_version(PolicyArn=operators["Arn"], VersionId=operators["DefaultVersionId"])
    return {
        "who may take the role": role["AssumeRolePolicyDocument"],
        "the role's policies": {
            name: iam.get_role_policy(RoleName=role["RoleName"], PolicyName=name)["PolicyDocument"] for name in names
        },
        "the roles of the instance profile": len(profile["Roles"]),
        "the operators' policy": version["PolicyVersion"]["Document"],
        "the number of those who have the operators' policy": operators["AttachmentCount"],
    }
