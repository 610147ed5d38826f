{{/* What the operator refuses only after `helm install` has said that all is well (ValidateRayJobSpec): root, name, job */}}
{{- define "manta-jobs.rules" -}}
{{- $path := printf "jobs.%s" .name -}}
{{- $job := .job -}}
{{- $mode := $job.submissionMode | default "K8sJobMode" -}}
{{- $shutdown := hasKey $job "shutdownAfterJobFinishes" | ternary $job.shutdownAfterJobFinishes (empty $job.deletionRules) -}}
{{- if not (has $mode (list "K8sJobMode" "HTTPMode" "SidecarMode" "InteractiveMode")) -}}
{{- include "manta.refuse" (dict "path" (printf "%s.submissionMode" $path) "given" $mode "allowed" "must be K8sJobMode, HTTPMode, SidecarMode or InteractiveMode") -}}
{{- end -}}
{{- if and $job.ttlSecondsAfterFinished (not $shutdown) (not $job.deletionRules) -}}
{{- include "manta.refuse" (dict "path" (printf "%s.ttlSecondsAfterFinished" $path) "given" $job.ttlSecondsAfterFinished "allowed" "needs shutdownAfterJobFinishes=true") -}}
{{- end -}}
{{- if $job.deletionRules -}}
{{- if $shutdown -}}
{{- include "manta.refuse" (dict "path" (printf "%s.deletionRules" $path) "given" $job.deletionRules "allowed" "takes the place of shutdownAfterJobFinishes; give one of them") -}}
{{- end -}}
{{- if hasKey $job "ttlSecondsAfterFinished" -}}
{{- include "manta.refuse" (dict "path" (printf "%s.ttlSecondsAfterFinished" $path) "given" $job.ttlSecondsAfterFinished "allowed" "takes no part in deletionRules, which have ttlSeconds of their own") -}}
{{- end -}}
{{- include "manta-jobs.rules.deletion" . -}}
{{- end -}}
{{- if $job.backoffLimit -}}
{{- if $job.clusterSelector -}}
{{- include "manta.refuse" (dict "path" (printf "%s.backoffLimit" $path) "given" $job.backoffLimit "allowed" "starts a job again with a new cluster, so it does not go with clusterSelector; leave it out") -}}
{{- end -}}
{{- if eq $mode "InteractiveMode" -}}
{{- include "manta.refuse" (dict "path" (printf "%s.backoffLimit" $path) "given" $job.backoffLimit "allowed" "does not go with submissionMode=InteractiveMode; leave it out") -}}
{{- end -}}
{{- end -}}
{{- if $job.suspend -}}
{{- if $job.clusterSelector -}}
{{- include "manta.refuse" (dict "path" (printf "%s.suspend" $path) "given" true "allowed" "does not go with clusterSelector, whose cluster is not the job's own") -}}
{{- end -}}
{{- if not $shutdown -}}
{{- include "manta.refuse" (dict "path" (printf "%s.suspend" $path) "given" true "allowed" "needs shutdownAfterJobFinishes=true") -}}
{{- end -}}
{{- end -}}
{{- if and $job.clusterSelector (not (get $job.clusterSelector "ray.io/cluster")) -}}
{{- include "manta.refuse" (dict "path" (printf "%s.clusterSelector" $path) "given" $job.clusterSelector "allowed" "needs the name of a cluster as ray.io/cluster") -}}
{{- end -}}
{{- if $job.clusterSelector -}}
{{- range $key := list "head" "workers" "ttlSecondsAfterFinished" -}}
{{- if hasKey $job $key -}}
{{- include "manta.refuse" (dict "path" (printf "%s.%s" $path $key) "given" (get $job $key) "allowed" "has no effect with clusterSelector, whose cluster is not the job's own; leave it out") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $job.submitter (ne $mode "K8sJobMode") -}}
{{- include "manta.refuse" (dict "path" (printf "%s.submitter" $path) "given" $job.submitter "allowed" (printf "submissionMode=%s has no submitter pod; leave it out" $mode)) -}}
{{- end -}}
{{- if eq $mode "SidecarMode" -}}
{{- if $job.clusterSelector -}}
{{- include "manta.refuse" (dict "path" (printf "%s.clusterSelector" $path) "given" $job.clusterSelector "allowed" "does not go with submissionMode=SidecarMode, whose submitter runs in the job's own head") -}}
{{- end -}}
{{- $policy := ($job.head).restartPolicy | default .root.Values.head.restartPolicy -}}
{{- if and $policy (ne $policy "Never") -}}
{{- include "manta.refuse" (dict "path" (printf "%s.head.restartPolicy" $path) "given" $policy "allowed" "submissionMode=SidecarMode needs Never; leave it out") -}}
{{- end -}}
{{- end -}}
{{- if and (eq .root.Values.scheduling.scheduler "kueue") (or (not $shutdown) $job.clusterSelector) -}}
{{- include "manta.refuse" (dict "path" (printf "%s.shutdownAfterJobFinishes" $path) "given" $shutdown "allowed" "kueue takes jobs that bring a cluster and remove it; leave out clusterSelector and deletionRules") -}}
{{- end -}}
{{- include "manta-jobs.rules.schedule" . -}}
{{- end -}}

{{- define "manta-jobs.rules.deletion" -}}
{{- $path := printf "jobs.%s.deletionRules" .name -}}
{{- $order := dict "DeleteWorkers" 0 "DeleteCluster" 1 "DeleteSelf" 2 "DeleteNone" 3 -}}
{{- $seen := list -}}
{{- range .job.deletionRules -}}
{{- $rule := . -}}
{{- $seconds := .ttlSeconds | default 0 | int64 -}}
{{- if and (eq .policy "DeleteWorkers") $.root.Values.autoscaling.enabled -}}
{{- include "manta.refuse" (dict "path" $path "given" .policy "allowed" "DeleteWorkers does not go with autoscaling.enabled=true; use DeleteCluster") -}}
{{- end -}}
{{- if and $.job.clusterSelector (has .policy (list "DeleteWorkers" "DeleteCluster")) -}}
{{- include "manta.refuse" (dict "path" $path "given" .policy "allowed" "the cluster of clusterSelector is not the job's own; use DeleteSelf or DeleteNone") -}}
{{- end -}}
{{- range $seen -}}
{{- if and (eq .jobStatus $rule.jobStatus) (eq .policy $rule.policy) -}}
{{- include "manta.refuse" (dict "path" $path "given" $rule.policy "allowed" (printf "is there twice for %s" $rule.jobStatus)) -}}
{{- end -}}
{{- $isLater := gt (int64 (get $order $rule.policy)) (int64 (get $order .policy)) -}}
{{- $other := .ttlSeconds | default 0 | int64 -}}
{{- if and (eq .jobStatus $rule.jobStatus) (ne $rule.policy "DeleteNone") (ne .policy "DeleteNone") (or (and $isLater (lt $seconds $other)) (and (not $isLater) (gt $seconds $other))) -}}
{{- include "manta.refuse" (dict "path" $path "given" (printf "%s after %d s, %s after %d s" .policy $other $rule.policy $seconds) "allowed" "workers go first, then the cluster, then the job itself") -}}
{{- end -}}
{{- end -}}
{{- $seen = append $seen . -}}
{{- end -}}
{{- end -}}

{{- define "manta-jobs.rules.schedule" -}}
{{- $path := printf "jobs.%s" .name -}}
{{- $schedule := .job.schedule -}}
{{- $zone := .job.timeZone -}}
{{- if and (hasKey .job "timeZone") (not $schedule) -}}
{{- include "manta.refuse" (dict "path" (printf "%s.timeZone" $path) "given" $zone "allowed" "needs a schedule") -}}
{{- end -}}
{{- if $schedule -}}
{{- if contains "TZ" $schedule -}}
{{- include "manta.refuse" (dict "path" (printf "%s.schedule" $path) "given" $schedule "allowed" (printf "no time zone in here; use %s.timeZone" $path)) -}}
{{- end -}}
{{- if not (regexMatch "^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|@every [0-9]+[smh]|[0-9*,/?-]+ [0-9*,/?-]+ [0-9*,/?-]+ [0-9A-Za-z*,/?-]+ [0-9A-Za-z*,/?-]+)$" $schedule) -}}
{{- include "manta.refuse" (dict "path" (printf "%s.schedule" $path) "given" $schedule "allowed" "must be five fields, minute hour day month weekday, such as 0 3 * * *, or @daily") -}}
{{- end -}}
{{- if hasKey .job "timeZone" -}}
{{- /* An unknown zone is taken for UTC; where Tokyo is unknown too there is no list of zones to ask. */ -}}
{{- $noon := toDate "2006-01-02 15:04" "2026-01-01 12:00" -}}
{{- $isUtc := regexMatch "^(UTC|UCT|Zulu|Universal|Etc/(UTC|UCT|Zulu|Universal))$" $zone -}}
{{- $knows := eq (dateInZone "MST" $noon "Asia/Tokyo") "JST" -}}
{{- if or (not (regexMatch "^[A-Za-z][A-Za-z0-9_+/-]*$" $zone)) (eq $zone "Local") (and $knows (not $isUtc) (eq (dateInZone "MST" $noon $zone) "UTC")) -}}
{{- include "manta.refuse" (dict "path" (printf "%s.timeZone" $path) "given" $zone "allowed" "must be a time zone of the IANA, such as Europe/Berlin") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
