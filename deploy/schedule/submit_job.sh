#!/bin/sh
# Submit a job as Ray job and run folder <job>-<date> (UTC), follow its log, and end as it ends:
#
#   deploy/schedule/submit_job.sh reaudit conf/paper.yaml key=value …      # or audit; after `. .service/environment`
#
# Called again on the same day it follows a job that waits or runs, leaves one that succeeded, and submits one that
# failed or was stopped anew, which continues its run folder. JOB_RESOURCES asks Ray for a place for the driver.
set -eu

project=$(cd "$(dirname "$0")/../.." && pwd)
job=$1
config=$2
shift 2
name=$job-$(date -u +%F)

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

exec ray job submit --submission-id "$name" ${JOB_RESOURCES:+--entrypoint-resources "$JOB_RESOURCES"} \
    --runtime-env-json '{"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "20"}}' \
    -- python "$project/jobs/$job.py" "$project/$config" "run.name=$name" "$@"
