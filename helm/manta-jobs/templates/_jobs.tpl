{{/* The one kind of work of a job: its script is jobs/KIND.py. */}}
{{- define "manta-jobs.kind" -}}
{{- keys .job | first -}}
{{- end -}}

{{/*
What the driver is told. With a cluster of its own a job reads its words from a file, so that no shell comes near them;
a cluster that runs already has no such file, and takes them from the command line.
*/}}
{{- define "manta-jobs.entrypoint" -}}
{{- $kind := include "manta-jobs.kind" .job -}}
{{- $config := get .job.job $kind -}}
{{- $words := list "python" (printf "jobs/%s.py" $kind) -}}
{{- range .job.presets }}{{ $words = append $words . }}{{ end -}}
{{- if .job.clusterSelector -}}
{{- $flat := include "manta-jobs.words" (dict "path" (printf "jobs.%s.job.%s" .name $kind) "prefix" "" "config" $config) | fromJsonArray -}}
{{- $words = concat $words $flat -}}
{{- else if $config -}}
{{- $words = append $words "/etc/manta/job.yaml" -}}
{{- end -}}
{{- join " " $words -}}
{{- end -}}

{{/* Nested words as a JSON list of dotted.key=value, none of which a shell would touch. */}}
{{- define "manta-jobs.words" -}}
{{- $call := . -}}
{{- $words := list -}}
{{- range $key, $value := .config -}}
{{- $dotted := printf "%s%s" $call.prefix $key -}}
{{- $path := printf "%s.%s" $call.path $key -}}
{{- if and (kindIs "map" $value) $value -}}
{{- $words = concat $words (include "manta-jobs.words" (dict "path" $path "prefix" (printf "%s." $dotted) "config" $value) | fromJsonArray) -}}
{{- else -}}
{{- $text := kindIs "string" $value | ternary $value ($value | toJson) -}}
{{- if kindIs "slice" $value -}}
{{- $items := list -}}
{{- range $value }}{{ $items = append $items (kindIs "string" . | ternary . (. | toJson)) }}{{ end -}}
{{- $text = printf "[%s]" (join "," $items) -}}
{{- end -}}
{{- if not (regexMatch "^[A-Za-z0-9_.,:/=@%+\\[\\]-]+$" $text) -}}
{{- include "manta.refuse" (dict "path" $path "given" $text "allowed" "with clusterSelector words pass through shells: use letters, digits and _.,:/=@%+-[] only, or a preset, or a cluster of its own") -}}
{{- end -}}
{{- $words = append $words (printf "%s=%s" $dotted $text) -}}
{{- end -}}
{{- end -}}
{{- $words | toJson -}}
{{- end -}}

{{/* The specification of a RayJob: root, name, job. The name of its ConfigMap comes in as `configName`. */}}
{{- define "manta-jobs.spec" -}}
{{- $root := .root -}}
{{- $job := .job -}}
{{- $kind := include "manta-jobs.kind" $job -}}
{{- $submitter := mergeOverwrite (deepCopy $root.Values.submitter) (deepCopy ($job.submitter | default dict)) -}}
{{- $mode := $job.submissionMode | default "K8sJobMode" -}}
{{- $shutdown := hasKey $job "shutdownAfterJobFinishes" | ternary $job.shutdownAfterJobFinishes (empty $job.deletionRules) -}}
{{- include "manta-jobs.rules" . -}}
{{- if ne $mode "InteractiveMode" }}
entrypoint: {{ include "manta-jobs.entrypoint" . | quote }}
{{- end }}
submissionMode: {{ $mode }}
{{- if $job.suspend }}
suspend: true
{{- end }}
{{- if $job.backoffLimit }}
backoffLimit: {{ $job.backoffLimit | int64 }}
{{- end }}
{{- with $job.activeDeadlineSeconds }}
activeDeadlineSeconds: {{ . | int64 }}
{{- end }}
shutdownAfterJobFinishes: {{ and $shutdown (not $job.clusterSelector) }}
{{- if and $shutdown (not $job.clusterSelector) }}
ttlSecondsAfterFinished: {{ hasKey $job "ttlSecondsAfterFinished" | ternary $job.ttlSecondsAfterFinished 300 | int64 }}
{{- end }}
{{- with $job.deletionRules }}
deletionStrategy:
  deletionRules:
    {{- range . }}
    - policy: {{ .policy }}
      condition:
        jobStatus: {{ .jobStatus }}
        ttlSeconds: {{ .ttlSeconds | default 0 | int64 }}
    {{- end }}
{{- end }}
{{- if eq $mode "K8sJobMode" }}
submitterConfig:
  backoffLimit: {{ $submitter.backoffLimit | int64 }}
submitterPodTemplate:
  {{- include "manta.podTemplate" (dict "root" $root "pod" (dict "resources" $submitter.resources) "component" "submitter" "container" "ray-job-submitter" "restartPolicy" "Never" "grace" 30) | nindent 2 }}
{{- end }}
{{- if $job.clusterSelector }}
clusterSelector:
  {{- toYaml $job.clusterSelector | nindent 2 }}
{{- else }}
rayClusterSpec:
  {{- $head := mergeOverwrite (deepCopy $root.Values.head) (deepCopy ($job.head | default dict)) }}
  {{- $mounts := dict -}}
  {{- if get $job.job $kind -}}
  {{- $_ := set $mounts "job" (dict "mountPath" "/etc/manta" "configMap" .configName) -}}
  {{- end -}}
  {{- include "manta.clusterSpec" (dict "root" $root "head" $head "workers" ($job.workers | default $root.Values.workers) "prefix" (printf "jobs.%s." .name) "mounts" $mounts) | nindent 2 }}
{{- end }}
{{- end -}}
