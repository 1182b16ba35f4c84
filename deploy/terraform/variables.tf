# The same parameters as those of deploy/cloudformation/stack.yaml.

variable "bucket_name" {
  description = "Name of the bucket to create, in the region of the nodes"
  type        = string
}

variable "prefix" {
  description = "Where the nodes keep all their objects, as in s3://BUCKET/PREFIX, without slashes around it"
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*$", var.prefix))
    error_message = "The prefix must not be empty and must have no slash at its ends and no wildcard."
  }
}

variable "table_name" {
  description = "Name of the lock table to create (REQUORUM_TABLE)"
  type        = string
  default     = "requorum"
}

variable "kms_key_arn" {
  description = "ARN of the KMS key that the bucket encrypts with; empty for S3's own keys"
  type        = string
  default     = ""
}

variable "noncurrent_days" {
  description = "Days for which what was replaced or deleted can still be brought back"
  type        = number
  default     = 7

  validation {
    condition     = var.noncurrent_days >= 1
    error_message = "S3 keeps a noncurrent version for at least one day."
  }
}
