/** What `etcdctl version` prints; apart, so that printing it loads nothing else. */

export const VERSION = "3.6.14";
export const API_VERSION = "3.6";
