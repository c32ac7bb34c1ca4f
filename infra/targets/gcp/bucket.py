"""The bucket for files and collections, and who may read weights in other buckets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_gcp as gcp
from pulumi import Input, ResourceOptions

from infra.targets.gcp.limits import STORE


def data_bucket(
    name: str, region: str, labels: Mapping[str, str], protect: bool, opts: ResourceOptions
) -> gcp.storage.Bucket:
    """Plans a bucket without public access, versions and retention, so that erased data is gone."""
    storage = gcp.storage
    return storage.Bucket(
        "bucket",
        name=name,
        location=region,
        uniform_bucket_level_access=True,
        public_access_prevention="enforced",
        versioning=storage.BucketVersioningArgs(enabled=False),
        # Deleted objects are not retained.
        soft_delete_policy=storage.BucketSoftDeletePolicyArgs(retention_duration_seconds=0),
        lifecycle_rules=[
            storage.BucketLifecycleRuleArgs(
                action=storage.BucketLifecycleRuleActionArgs(type="AbortIncompleteMultipartUpload"),
                condition=storage.BucketLifecycleRuleConditionArgs(age=7),
            )
        ],
        force_destroy=not protect,
        labels=labels,
        opts=ResourceOptions.merge(opts, ResourceOptions(protect=protect)),
    )


def readers(sources: Sequence[str], member: Input[str], opts: ResourceOptions) -> list[pulumi.Resource]:
    """Lets a principal read the buckets of folders, each `gs://bucket/folder`.

    A grant for a folder alone needs a condition, which buckets without uniform access do not take:
    https://cloud.google.com/storage/docs/access-control/iam#conditions
    """
    buckets = dict.fromkeys(source.removeprefix(STORE).partition("/")[0] for source in sources)
    return [
        gcp.storage.BucketIAMMember(
            f"weights-{bucket}", bucket=bucket, role="roles/storage.objectViewer", member=member, opts=opts
        )
        for bucket in buckets
    ]
