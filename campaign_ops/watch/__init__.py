"""Incidents and who hears of them: symptoms, their judgement against what is remembered, notifications.

Add here what turns a look at a platform into a notification. What is wrong, and when that is an incident, is decided in
``core``; statements on our tables are in ``journal``.
"""
