// BullMQ's client of one major version, from the directory of the npm packages, and what it connects with.
'use strict';

const { createRequire } = require('node:module');

exports.clientOf = (major, home) => createRequire(`${home}/`)(`bullmq${major}`);

exports.connectionTo = (url, maxRetriesPerRequest) => {
  const { hostname, port, pathname, username, password } = new URL(url);
  return {
    host: hostname,
    port: Number(port || 6379),
    db: Number(pathname.slice(1) || 0),
    username: decodeURIComponent(username) || undefined,
    password: decodeURIComponent(password) || undefined,
    maxRetriesPerRequest,
  };
};
