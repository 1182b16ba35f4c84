# What Requorum needs in AWS: a bucket, a lock table, a role for the nodes.
#
# This was parsed, and compared attribute by attribute with deploy/cloudformation/stack.yaml (`deploy/check`).
# It was never planned or applied here: look at the plan before you apply it.

terraform {
  required_version = ">= 1.3"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

data "aws_region" "current" {}

data "aws_caller_identity" "current" {}

locals {
  # what stands in the policies of deploy/iam
  names = {
    Bucket    = aws_s3_bucket.requorum.bucket
    Prefix    = var.prefix
    Table     = aws_dynamodb_table.requorum.name
    Region    = data.aws_region.current.id
    Account   = data.aws_caller_identity.current.account_id
    KmsKeyArn = var.kms_key_arn
  }
}

resource "aws_s3_bucket" "requorum" {
  bucket = var.bucket_name

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_versioning" "requorum" {
  bucket = aws_s3_bucket.requorum.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_ownership_controls" "requorum" {
  bucket = aws_s3_bucket.requorum.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "requorum" {
  bucket                  = aws_s3_bucket.requorum.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "requorum" {
  bucket = aws_s3_bucket.requorum.id

  rule {
    # one data key for many objects: votes are written every few seconds
    bucket_key_enabled = var.kms_key_arn == "" ? false : true

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == "" ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn == "" ? null : var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "requorum" {
  bucket = aws_s3_bucket.requorum.id

  # parts of uploads that a crash left behind; no upload takes days
  rule {
    id     = "incomplete-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 3
    }
  }

  # replaced votes and pruned snapshots, which versioning would keep for ever
  rule {
    id     = "noncurrent-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_days
    }

    expiration {
      expired_object_delete_marker = true
    }
  }

  depends_on = [aws_s3_bucket_versioning.requorum]
}

resource "aws_s3_bucket_policy" "requorum" {
  bucket = aws_s3_bucket.requorum.id
  policy = templatefile("${path.module}/../iam/bucket.json", local.names)
}

# Of one region, and it must stay so: writes to a global table are not linearizable.
resource "aws_dynamodb_table" "requorum" {
  name                        = var.table_name
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "pk"
  range_key                   = "sk"
  deletion_protection_enabled = true

  attribute {
    name = "pk"
    type = "S"
  }

  attribute {
    name = "sk"
    type = "S"
  }

  point_in_time_recovery {
    enabled = true
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_iam_role" "node" {
  name_prefix        = "requorum-node-"
  description        = "What a node of etcd may do so that Requorum can restore the quorum"
  assume_role_policy = file("${path.module}/../iam/trust.json")
}

resource "aws_iam_role_policy" "node" {
  name   = "requorum-agent"
  role   = aws_iam_role.node.name
  policy = templatefile("${path.module}/../iam/agent.json", local.names)
}

resource "aws_iam_role_policy" "node_key" {
  count  = var.kms_key_arn == "" ? 0 : 1
  name   = "requorum-agent-kms"
  role   = aws_iam_role.node.name
  policy = templatefile("${path.module}/../iam/agent-kms.json", local.names)
}

resource "aws_iam_instance_profile" "node" {
  name_prefix = "requorum-node-"
  role        = aws_iam_role.node.name
}

# Attached to nobody: whoever prunes gets it beside the node's policy.
resource "aws_iam_policy" "operator" {
  name_prefix = "requorum-operator-"
  description = "What an operator of Requorum may do beyond what a node may"
  policy      = templatefile("${path.module}/../iam/operator.json", local.names)
}
