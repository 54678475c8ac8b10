"""Incidents and notifications: looks at a platform, their judgement, the outbox, the channels.

Add here what turns a look at a platform into a notification. The causes and the rules of incidents are in ``core``;
statements on our tables are in ``journal``.
"""
