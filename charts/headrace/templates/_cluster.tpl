{{/* The specification of the Ray cluster. */}}
{{- define "headrace.rayCluster" -}}
rayVersion: {{ .Values.rayVersion | quote }}
enableInTreeAutoscaling: {{ .Values.autoscaling.enabled }}
{{- if .Values.autoscaling.enabled }}
autoscalerOptions:
  version: v2
  upscalingMode: {{ .Values.autoscaling.upscalingMode }}
  idleTimeoutSeconds: {{ .Values.autoscaling.idleTimeoutSeconds | int64 }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  resources:
    {{- toYaml .Values.autoscaling.resources | nindent 4 }}
  securityContext:
    {{- include "headrace.containerSecurity" . | nindent 4 }}
  env:
    - name: HOME
      value: /tmp
    - name: RAY_AUTH_MODE
      value: token
    - name: RAY_AUTH_TOKEN_PATH
      value: /etc/headrace/ray/token
  volumeMounts:
    - name: tmp
      mountPath: /tmp
    - name: ray-token
      mountPath: /etc/headrace/ray
      readOnly: true
    - name: kubernetes
      mountPath: /var/run/secrets/kubernetes.io/serviceaccount
      readOnly: true
{{- end }}
{{- if eq .Values.head.gcs.storage "redis" }}
{{- with .Values.head.gcs.redis }}
gcsFaultToleranceOptions:
  redisAddress: {{ required "head.gcs.redis.address is needed when head.gcs.storage is redis" .address | quote }}
  {{- with .username }}
  redisUsername:
    value: {{ . | quote }}
  {{- end }}
  {{- if .passwordSecret.name }}
  redisPassword:
    valueFrom:
      secretKeyRef:
        name: {{ .passwordSecret.name }}
        key: {{ .passwordSecret.key }}
  {{- end }}
{{- end }}
{{- end }}
headGroupSpec:
  {{- include "headrace.head" . | nindent 2 }}
workerGroupSpecs:
  {{- range $pool, $values := .Values.pools }}
  - {{- include "headrace.worker" (dict "root" $ "pool" $pool "at" $values) | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* A digest of the specification of the Ray cluster (YAML) without the numbers of pods, which KubeRay changes in place. */}}
{{- define "headrace.rayClusterRevision" -}}
{{- $spec := fromYaml . -}}
{{- range $group := $spec.workerGroupSpecs -}}
{{- range list "replicas" "minReplicas" "maxReplicas" -}}{{- $_ := unset $group . -}}{{- end -}}
{{- end -}}
{{- $spec | toJson | sha256sum | trunc 16 -}}
{{- end -}}
