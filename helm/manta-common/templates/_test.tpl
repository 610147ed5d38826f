{{/* A pod of `helm test`: root, command (YAML), and if wanted env (YAML), mounts and volumes (YAML). */}}
{{- define "manta.testPod" -}}
{{- $root := .root -}}
apiVersion: v1
kind: Pod
metadata:
  {{- $annotations := dict "helm.sh/hook" "test" "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded" }}
  {{- include "manta.metadata" (dict "root" $root "name" (printf "%s-test" (include "manta.fullname" $root)) "component" "test" "annotations" $annotations) | nindent 2 }}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext:
    runAsNonRoot: true
    runAsUser: {{ $root.Values.security.runAsUser | int64 }}
    runAsGroup: {{ $root.Values.security.runAsGroup | int64 }}
    seccompProfile:
      type: RuntimeDefault
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . | quote }}
    {{- end }}
  {{- end }}
  containers:
    - name: test
      image: {{ include "manta.image" (dict "root" $root) | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      workingDir: /app
      command:
        {{- .command | nindent 8 }}
      env:
        - name: HOME
          value: /tmp
        {{- with .env }}
        {{- . | nindent 8 }}
        {{- end }}
      resources:
        {{- include "manta.resources" (dict "cpu" "500m" "memory" "1Gi") | nindent 8 }}
      securityContext:
        {{- include "manta.containerSecurity" . | nindent 8 }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
        {{- with .mounts }}
        {{- . | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {}
    {{- with .volumes }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}
