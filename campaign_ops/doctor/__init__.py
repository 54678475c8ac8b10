"""Checks a platform before anything touches it. Reads only, for a few seconds at most, and goes on after a failure."""

from campaign_ops.doctor.examination import examine
from campaign_ops.doctor.finding import Finding, Level
from campaign_ops.doctor.grants import grants
from campaign_ops.doctor.redis_acl import redis_acl

__all__ = ["Finding", "Level", "examine", "grants", "redis_acl"]
