{{/* What selectors use, and what never changes in the life of a release. */}}
{{- define "manta.selectorLabels" -}}
app.kubernetes.io/name: {{ include "manta.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* Of pods and of what is never changed once it is there: nothing about versions. */}}
{{- define "manta.stableLabels" -}}
{{- $fixed := include "manta.selectorLabels" .root | fromYaml -}}
{{- $_ := set $fixed "app.kubernetes.io/part-of" "manta" -}}
{{- with .component }}{{ $_ := set $fixed "app.kubernetes.io/component" . }}{{ end -}}
{{- merge $fixed (deepCopy (.more | default dict)) (deepCopy .root.Values.labels) | toYaml -}}
{{- end -}}

{{- define "manta.labels" -}}
{{ include "manta.stableLabels" . }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service | quote }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- end -}}

{{/* metadata of an object: root, name, and if wanted component, labels and annotations. */}}
{{- define "manta.metadata" -}}
name: {{ .name | quote }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "manta.labels" (dict "root" .root "component" .component "more" .labels) | nindent 2 }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
