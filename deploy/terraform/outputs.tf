# What the nodes are started and configured with.

output "snapshots_uri" {
  description = "ETCDADM_CLUSTER_SNAPSHOTS_S3_URI of the nodes"
  value       = "s3://${aws_s3_bucket.requorum.bucket}/${var.prefix}"
}

output "lock_table" {
  description = "REQUORUM_TABLE of the nodes"
  value       = aws_dynamodb_table.requorum.name
}

output "instance_profile" {
  description = "Name of the instance profile to start the nodes with"
  value       = aws_iam_instance_profile.node.name
}

output "operator_policy_arn" {
  description = "To attach to the role of whoever runs `requorum snapshot prune`"
  value       = aws_iam_policy.operator.arn
}
