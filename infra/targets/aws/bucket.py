"""The S3 bucket for files and collections, and the policies for it and for weights in other buckets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from infra.resources.provisioned_cluster import resource_slug
from infra.targets.aws.limits import STORE
from infra.targets.aws.roles import policy


def bucket_name(account: str, stack: str) -> str:
    """Returns a name of at most 63 characters, with a digest of the account, since bucket names are globally unique."""
    return f"headrace-{resource_slug(stack, 45)}-{hashlib.sha256(account.encode()).hexdigest()[:8]}"


class AwsBucket(pulumi.ComponentResource):
    """An encrypted bucket without public access, plain HTTP and versioning, so that erased data is gone."""

    def __init__(self, name: str, protect: bool, opts: ResourceOptions) -> None:
        super().__init__("headrace:aws:Bucket", "bucket", opts=opts)
        self.name = name
        own = ResourceOptions(parent=self)
        self.bucket = aws.s3.Bucket(
            "bucket",
            bucket=name,
            force_destroy=not protect,
            opts=ResourceOptions(parent=self, protect=protect),
        )
        # These settings are deleted with the bucket.
        with_it = ResourceOptions.merge(own, ResourceOptions(deleted_with=self.bucket))
        closed = aws.s3.BucketPublicAccessBlock(
            "bucket-public-access",
            bucket=self.bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=with_it,
        )
        aws.s3.BucketOwnershipControls(
            "bucket-ownership",
            bucket=self.bucket.id,
            rule=aws.s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"),
            opts=with_it,
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            "bucket-encryption",
            bucket=self.bucket.id,
            rules=[
                aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(
                    apply_server_side_encryption_by_default=aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
                        sse_algorithm="AES256"
                    )
                )
            ],
            opts=with_it,
        )
        aws.s3.BucketLifecycleConfiguration(
            "bucket-lifecycle",
            bucket=self.bucket.id,
            rules=[
                aws.s3.BucketLifecycleConfigurationRuleArgs(
                    id="incomplete-uploads",
                    status="Enabled",
                    filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
                    abort_incomplete_multipart_upload=aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                        days_after_initiation=7
                    ),
                )
            ],
            opts=with_it,
        )
        aws.s3.BucketPolicy(
            "bucket-policy",
            bucket=self.bucket.id,
            policy=self.bucket.arn.apply(lambda arn: json.dumps(_tls_policy(arn))),
            opts=ResourceOptions.merge(with_it, ResourceOptions(depends_on=[closed])),
        )
        self.register_outputs({"name": name})

    def access(self) -> Output[str]:
        """Returns the policy for the serving pods, which may list, read, write and delete objects."""
        arn: Output[str] = self.bucket.arn
        return arn.apply(lambda arn: json.dumps(_access_policy(arn)))


def _tls_policy(arn: str) -> dict[str, object]:
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    return policy(statement)


def _access_policy(arn: str) -> dict[str, object]:
    objects = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    return policy(
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": arn},
        {"Effect": "Allow", "Action": objects, "Resource": f"{arn}/*"},
    )


def read_policy(sources: Sequence[str]) -> dict[str, Any]:
    """Returns the policy to list and read folders, each `s3://bucket/folder`, and nothing else of their buckets."""
    statements: list[dict[str, Any]] = []
    for source in sources:
        bucket, _, folder = source.removeprefix(STORE).partition("/")
        # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-specialchars
        folder = "".join(f"${{{c}}}" if c in "*?$" else c for c in folder)
        arn = f"arn:aws:s3:::{bucket}"
        listed = {"StringLike": {"s3:prefix": [folder, f"{folder}/*"]}}
        statements.append({"Effect": "Allow", "Action": "s3:ListBucket", "Resource": arn, "Condition": listed})
        statements.append({"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{arn}/{folder}/*"})
    return policy(*statements)
