{{/* How a value is refused: its path, what was given, and what is allowed. */}}
{{- define "manta.refuse" -}}
{{- $given := kindIs "string" .given | ternary .given (.given | toJson) -}}
{{- fail (printf "\n\n%s=%s: %s\n" .path $given .allowed) -}}
{{- end -}}

{{/* The variables of a group by name, its own and those of all pods. */}}
{{- define "manta.allEnv" -}}
{{- mergeOverwrite (dict) (deepCopy .root.Values.env) (deepCopy (.pod.env | default dict)) | toYaml -}}
{{- end -}}
