{{/* Names within the limits of KubeRay (RayCluster 53, RayService and RayJob 47, RayCronJob 36), for any release. */}}

{{/* A DNS-1035 label of at most `limit` characters: include "manta.fit" (dict "name" … "limit" 47) */}}
{{- define "manta.fit" -}}
{{- $name := .name | lower | replace "." "-" | trimAll "-" -}}
{{- if not (regexMatch "^[a-z]" $name) -}}
{{- $name = printf "m-%s" $name -}}
{{- end -}}
{{- if gt (len $name) (int .limit) -}}
{{- /* What is cut off stays in the hash, so that two names never become one. */ -}}
{{- $name = printf "%s-%s" ($name | trunc (int (sub .limit 7)) | trimSuffix "-") ($name | sha256sum | trunc 6) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- define "manta.name" -}}
{{- .Values.nameOverride | default .Chart.Name -}}
{{- end -}}

{{/* Release and chart, uncut. */}}
{{- define "manta.wholeName" -}}
{{- $name := include "manta.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name -}}
{{- end -}}
{{- end -}}

{{/* Of the Ray resource, and the start of all other names: the tightest limit but that of RayCronJob. */}}
{{- define "manta.fullname" -}}
{{- include "manta.fit" (dict "name" (include "manta.wholeName" .) "limit" 47) -}}
{{- end -}}

{{- define "manta.serviceAccountName" -}}
{{- $given := .Values.serviceAccount.name -}}
{{- $given | default (ternary (include "manta.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}
