{{/* The image of a pod: root, and what the pod has of its own. A tag of its own leaves the common digest behind. */}}
{{- define "manta.image" -}}
{{- $image := deepCopy .root.Values.image -}}
{{- with .own -}}
{{- if and .tag (not .digest) }}{{ $_ := set $image "digest" "" }}{{ end -}}
{{- $image = mergeOverwrite $image . -}}
{{- end -}}
{{- $name := $image.repository -}}
{{- with $image.registry }}{{ $name = printf "%s/%s" . $name }}{{ end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name ($image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
