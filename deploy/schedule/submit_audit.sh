#!/bin/sh
# Submit an audit as Ray job and run folder audit-<date> (UTC), follow its log, and end as it ends:
#
#   RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265 deploy/schedule/submit_audit.sh conf/paper.yaml key=value …
#
# Called again on the same day it follows a job that waits or runs, leaves one that succeeded, and submits one that
# failed or was stopped anew, which continues its run folder. AUDIT_RESOURCES asks Ray for a place for the driver.
set -eu

project=$(cd "$(dirname "$0")/../.." && pwd)
config=$1
shift
name=audit-$(date -u +%F)

case $(ray job status "$name" 2>&1 || true) in
*"'$name': PENDING"* | *"'$name': RUNNING"*)
    echo "$name was submitted before and has not ended."
    ray job logs --follow "$name"
    ray job status "$name" 2>&1 | grep "'$name' succeeded"
    exit
    ;;
*"'$name' succeeded"*)
    echo "$name has succeeded before: nothing to do."
    exit 0
    ;;
*"'$name' failed"* | *"'$name' was stopped"*)
    echo "$name failed or was stopped before: submitting it again."
    ray job delete "$name"
    ;;
esac

exec ray job submit --submission-id "$name" ${AUDIT_RESOURCES:+--entrypoint-resources "$AUDIT_RESOURCES"} \
    --runtime-env-json '{"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "20"}}' \
    -- python "$project/jobs/audit.py" "$project/$config" "run.name=$name" "$@"
