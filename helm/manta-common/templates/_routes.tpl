{{/* root, service, port: an Ingress and an HTTPRoute to a Service. */}}
{{- define "manta.routes" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
{{- range $path, $route := dict "ingress" $values.ingress "httpRoute" $values.httpRoute -}}
{{- if and $route.enabled $values.networkPolicy.enabled (not $values.networkPolicy.clients) -}}
{{- include "manta.refuse" (dict "path" (printf "%s.enabled" $path) "given" true "allowed" "networkPolicy.clients lets nobody in; name the pods of the controller there") -}}
{{- end -}}
{{- end -}}
{{- with $values.ingress -}}
{{- if .enabled }}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "manta.metadata" (dict "root" $root "name" (include "manta.fullname" $root) "annotations" .annotations) | nindent 2 }}
spec:
  {{- with .className }}
  ingressClassName: {{ . | quote }}
  {{- end }}
  {{- with .tlsSecret }}
  tls:
    - secretName: {{ . | quote }}
      {{- with $values.ingress.host }}
      hosts: [{{ . | quote }}]
      {{- end }}
  {{- end }}
  rules:
    - {{ with .host }}host: {{ . | quote }}
      {{ end }}http:
        paths:
          - path: {{ .path | quote }}
            pathType: Prefix
            backend:
              service:
                name: {{ $.service | quote }}
                port:
                  number: {{ $.port | int64 }}
{{- end -}}
{{- end -}}
{{- with $values.httpRoute -}}
{{- if .enabled }}
{{- if not .parentRefs -}}
{{- include "manta.refuse" (dict "path" "httpRoute.parentRefs" "given" "[]" "allowed" "name the Gateway that the route belongs to") -}}
{{- end }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  {{- include "manta.metadata" (dict "root" $root "name" (include "manta.fullname" $root) "annotations" .annotations) | nindent 2 }}
spec:
  parentRefs:
    {{- toYaml .parentRefs | nindent 4 }}
  {{- with .hostnames }}
  hostnames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    - matches:
        - path:
            type: PathPrefix
            value: {{ .path | quote }}
      backendRefs:
        - name: {{ $.service | quote }}
          port: {{ $.port | int64 }}
{{- end -}}
{{- end -}}
{{- end -}}
