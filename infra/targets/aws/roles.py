"""IAM roles, their trust policies and AWS managed policies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi import ResourceOptions

PODS = "pods.eks.amazonaws.com"
NODES = "ec2.amazonaws.com"
CONTROL_PLANE = "eks.amazonaws.com"

POLICIES = "arn:aws:iam::aws:policy/"


def role(
    name: str, service: str, policies: Sequence[str], opts: ResourceOptions, conditions: Mapping[str, str] | None = None
) -> tuple[aws.iam.Role, list[pulumi.Resource]]:
    """Creates a role for an AWS service; returns it with its policy attachments, which its users depend on."""
    iam_role = aws.iam.Role(
        f"{name}-role", assume_role_policy=json.dumps(trust_policy(service, conditions or {})), opts=opts
    )
    attached: list[pulumi.Resource] = [
        aws.iam.RolePolicyAttachment(
            f"{name}-{policy.rpartition('/')[2]}", role=iam_role.name, policy_arn=POLICIES + policy, opts=opts
        )
        for policy in policies
    ]
    return iam_role, attached


def namespace_conditions(account: str, cluster: str, namespace: str) -> dict[str, str]:
    """Returns conditions for pods in one namespace of the cluster, based on the tags of EKS Pod Identity.

    https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html
    """
    return {
        "aws:SourceAccount": account,
        "aws:RequestTag/eks-cluster-name": cluster,
        "aws:RequestTag/kubernetes-namespace": namespace,
    }


def trust_policy(service: str, conditions: Mapping[str, str]) -> dict[str, Any]:
    """Returns the policy that lets a service assume a role. EKS and Pod Identity tag their sessions, EC2 does not."""
    statement: dict[str, Any] = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": ["sts:AssumeRole"] if service == NODES else ["sts:AssumeRole", "sts:TagSession"],
    }
    if conditions:
        statement["Condition"] = {"StringEquals": dict(conditions)}
    return policy(statement)


def policy(*statements: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an IAM policy document."""
    return {"Version": "2012-10-17", "Statement": list(statements)}
