{{/*
Parts of pods: what hardens them, what they mount, the side containers.
*/}}

{{- define "headrace.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
# Do not change the ownership of all files on a large volume at every start.
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "headrace.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Image, policy and security of a container; dict root, image. */}}
{{- define "headrace.container" -}}
image: {{ include "headrace.image" . }}
imagePullPolicy: {{ include "headrace.pullPolicy" . }}
securityContext:
  {{- include "headrace.containerSecurity" . | nindent 2 }}
{{- end -}}

{{/* Where a pod may run; dict root, at (an object with nodeSelector and so on). */}}
{{- define "headrace.placement" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .at.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .at.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .at.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .at.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Ten minutes to start, without any other probe: Ray on a busy node must not be killed for being slow. */}}
{{- define "headrace.rayStartSeconds" -}}
600
{{- end -}}

{{- define "headrace.rayStarts" -}}
periodSeconds: 5
timeoutSeconds: 10
failureThreshold: {{ div (int (include "headrace.rayStartSeconds" .)) 5 }}
{{- end -}}

{{/*
How many seconds workers wait for a head whose node is dead, until a new head answers. Kubernetes notices it after 50 s
(kube-controller-manager's node-monitor-grace-period), the head's pod tolerates it for a while, its volume is detached
by force after six minutes (ReconcilerMaxWaitForUnmountDuration), and Ray starts.
https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#non-graceful-node-shutdown
*/}}
{{- define "headrace.headPatience" -}}
{{ add 50 (int .Values.head.tolerationSeconds) 360 (int (include "headrace.rayStartSeconds" .)) }}
{{- end -}}

{{/*
Fixed ports of Ray's agents, which `serving.ray_node` tells a waiting raylet. The two that Headrace chooses are below the
kernel's ephemeral range.
*/}}
{{- define "headrace.agentPorts" -}}
dashboard-agent-listen-port: "52365"
dashboard-agent-grpc-port: "6380"
runtime-env-agent-port: "6381"
{{- end -}}

{{/*
Annotations of a Ray pod. One of them, which values cannot override, makes KubeRay keep the pod's command and put its own
`ray start ...` into a variable.
*/}}
{{- define "headrace.rayAnnotations" -}}
{{- toYaml (merge (dict "ray.io/overwrite-container-cmd" "true") .) -}}
{{- end -}}

{{/* KubeRay's command, its limit of open files included, but run by `serving.ray_node`. */}}
{{- define "headrace.rayCommand" -}}
command: [/bin/bash, -c, --]
args: ['ulimit -n 65536; eval "exec python -m serving.ray_node ${KUBERAY_GEN_RAY_START_CMD#ray }"']
{{- end -}}

{{/* The environment of every Ray container. The same settings as on a stack without Kubernetes: a test compares. */}}
{{- define "headrace.rayEnvironment" -}}
- name: HOME
  value: /tmp
- name: TMPDIR
  value: /tmp
- name: RAY_AUTH_MODE
  value: token
- name: RAY_AUTH_TOKEN_PATH
  value: /etc/headrace/ray/token
- name: RAY_USAGE_STATS_ENABLED
  value: "0"
# Ray's default of 60 s is too short on a busy node, where the head would be restarted.
- name: RAY_DASHBOARD_STARTUP_TIMEOUT_S
  value: "300"
- name: RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT
  value: "300"
# Time limit for a node to reach its own agents, once `serving.ray_node` has told it their ports.
- name: RAY_agent_register_timeout_ms
  value: "300000"
# No workers are started or kept for tasks: Serve has actors only.
- name: RAY_enable_worker_prestart
  value: "0"
- name: RAY_num_workers_soft_limit
  value: "0"
# Replicas serve users; by default, Ray runs workers at nice 15.
- name: RAY_worker_niceness
  value: "0"
# Ray's C++ processes write JSON lines, as Serve's replicas do.
- name: RAY_BACKEND_LOG_JSON
  value: "1"
- name: RAY_SERVE_ENABLE_HA_PROXY
  value: "1"
- name: RAY_SERVE_THROUGHPUT_OPTIMIZED
  value: "1"
# Else HAProxy sends a line for each request to Python, to count what the gateways and its own exporter count too.
- name: RAY_SERVE_HAPROXY_METRICS_ENABLED
  value: "0"
# The drain script looks for connections to these.
- name: RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT
  value: "30000"
- name: RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT
  value: "30999"
- name: RAY_SERVE_HAPROXY_CONFIG_FILE_LOC
  value: /tmp/ha/haproxy.cfg
- name: RAY_SERVE_HAPROXY_SOCKET_PATH
  value: /tmp/ha/admin.sock
- name: RAY_SERVE_HAPROXY_SERVER_STATE_BASE
  value: /tmp/ha
- name: RAY_SERVE_HAPROXY_SERVER_STATE_FILE
  value: /tmp/ha/server-state
- name: RAY_SERVE_HAPROXY_METRICS_PORT
  value: "9101"
- name: RAY_SERVE_HAPROXY_NBTHREAD
  value: {{ .Values.streams.haproxyThreads | quote }}
- name: RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S
  value: {{ .Values.streams.hardStopSeconds | int64 | quote }}
- name: RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER
  value: 1s
# Disconnect callers that neither send nor read. Time spent waiting for an engine does not count.
- name: RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S
  value: "60"
# Serve writes this value verbatim into HAProxy's defaults, so it adds three lines for which Serve has no setting. A
# gateway may be too busy to answer a check within a second.
- name: RAY_SERVE_HAPROXY_RETRY_ON
  value: "conn-failure\n    timeout http-request 10s\n    timeout check 10s\n    option forwardfor"
# A busy HAProxy may answer late, too; Serve's controller would kill it with all its streams.
- name: RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S
  value: "30"
- name: RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S
  value: "30"
{{- end -}}

{{/* Values' env (a map) as a list, in a fixed order. */}}
{{- define "headrace.extraEnvironment" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* Volumes of every Ray pod; dict root, temporaryStorage (of its pool; empty: the release's). */}}
{{- define "headrace.rayVolumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ default .root.Values.temporaryStorage .temporaryStorage }}
- name: metrics
  emptyDir:
    sizeLimit: 256Mi
- name: ray-token
  secret:
    secretName: {{ include "headrace.secretName" .root }}
    defaultMode: 0440
    items:
      - key: ray-token
        path: token
{{- end -}}

{{- define "headrace.rayMounts" -}}
- name: tmp
  mountPath: /tmp
- name: metrics
  mountPath: {{ include "headrace.metricsFolder" . }}
- name: ray-token
  mountPath: /etc/headrace/ray
  readOnly: true
{{- end -}}

{{- define "headrace.metricsFolder" -}}
{{- default "/var/run/headrace/metrics" .Values.serving.multiprocess_dir -}}
{{- end -}}

{{/* Gives Prometheus each sample of the pod's replicas once. It outlives them: the drain script asks it what runs. */}}
{{- define "headrace.exporter" -}}
- name: exporter
  restartPolicy: Always
  {{- include "headrace.container" . | nindent 2 }}
  command: [python, -m, serving.telemetry.exporter]
  args:
    - --dir={{ include "headrace.metricsFolder" .root }}
    - --host=0.0.0.0
    - --port=9464
  env:
    - name: HEADRACE_BUILD
      value: {{ include "headrace.build" .root | quote }}
  ports:
    - name: exporter
      containerPort: 9464
  readinessProbe:
    httpGet: {path: /healthz, port: exporter}
    periodSeconds: 5
    timeoutSeconds: 10
  livenessProbe:
    httpGet: {path: /healthz, port: exporter}
    periodSeconds: 20
    timeoutSeconds: 10
  resources:
    {{- toYaml .root.Values.exporter.resources | nindent 4 }}
  volumeMounts:
    - name: metrics
      mountPath: {{ include "headrace.metricsFolder" .root }}
{{- end -}}

{{/* The key in the Secret that a `file:` reference below /etc/headrace/secrets means; empty for any other. */}}
{{- define "headrace.secretKey" -}}
{{- $ref := default "" (default dict .).ref -}}
{{- if hasPrefix "file:/etc/headrace/secrets/" $ref -}}{{ trimPrefix "file:/etc/headrace/secrets/" $ref }}{{- end -}}
{{- end -}}

{{/* Volumes and mounts of what works on the store: its place, its password, the data folder. */}}
{{- define "headrace.storeVolumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ .Values.temporaryStorage }}
{{ include "headrace.secretsVolume" (dict "root" . "keys" (list (include "headrace.secretKey" .Values.serving.store.password) "bucket-credentials")) }}
{{ include "headrace.configVolume" . }}
{{- if include "headrace.dataClaim" . }}
- name: data
  persistentVolumeClaim:
    claimName: {{ include "headrace.dataClaim" . }}
{{- end }}
{{- end -}}

{{- define "headrace.storeMounts" -}}
- name: tmp
  mountPath: /tmp
- name: secrets
  mountPath: /etc/headrace/secrets
  readOnly: true
- name: config
  mountPath: /etc/headrace/config
  readOnly: true
{{- with include "headrace.certificatesMount" . }}
{{ . }}
{{- end }}
{{- if include "headrace.dataClaim" . }}
- name: data
  mountPath: {{ .Values.serving.store.data }}
{{- end }}
{{- end -}}

{{/* The Secret as files; dict root, keys (those to show; without: all). The bucket's credentials come from a Secret of
their own, and the database's password may: for example from one that an operator made. */}}
{{- define "headrace.secretsVolume" -}}
{{- $own := dict -}}
{{- range $path, $from := dict "bucket-credentials" .root.Values.secrets.bucketCredentials "database-password" .root.Values.secrets.databasePassword -}}
{{- if $from.secret -}}{{- $_ := set $own $path $from -}}{{- end -}}
{{- end -}}
{{- $secret := dict "name" (include "headrace.secretName" .root) -}}
{{- $sources := list -}}
{{- if hasKey . "keys" -}}
{{- $items := list -}}
{{- range without .keys "" "bucket-credentials" -}}
{{- if not (hasKey $own .) -}}{{- $items = append $items (dict "key" . "path" .) -}}{{- end -}}
{{- end -}}
{{- if $items -}}{{- $sources = append $sources (dict "secret" (set $secret "items" $items)) -}}{{- end -}}
{{- else -}}
{{- $sources = append $sources (dict "secret" $secret) -}}
{{- end -}}
{{- range $path, $from := $own -}}
{{- if or (not (hasKey $ "keys")) (has $path $.keys) -}}
{{- $item := dict "key" $from.key "path" $path -}}
{{- $sources = append $sources (dict "secret" (dict "name" $from.secret "items" (list $item))) -}}
{{- end -}}
{{- end -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources: {{- ternary (print "\n" (toYaml $sources | indent 6)) " []" (not (not $sources)) }}
{{- end -}}

{{/* The configuration that programs beside Serve read. */}}
{{- define "headrace.configVolume" -}}
- name: config
  configMap:
    name: {{ include "headrace.fullname" . }}-config
{{- if .Values.certificates }}
- name: certificates
  configMap:
    name: {{ include "headrace.fullname" . }}-certificates
{{- end }}
{{- end -}}

{{/* Certificates of authorities that programs trust beside the usual ones, where the configuration names them. */}}
{{- define "headrace.certificatesMount" -}}
{{- if .Values.certificates -}}
- name: certificates
  mountPath: /etc/headrace/certificates
  readOnly: true
{{- end -}}
{{- end -}}

{{/* The claim that holds the data folder; empty when data lies in a bucket. */}}
{{- define "headrace.dataClaim" -}}
{{- if hasPrefix "/" .Values.serving.store.data -}}
{{- default (printf "%s-data" (include "headrace.fullname" .)) .Values.persistence.data.existingClaim -}}
{{- end -}}
{{- end -}}

{{/* The environment of what works on the store. It reads the same configuration as the replicas. */}}
{{- define "headrace.storeEnvironment" -}}
- name: HOME
  value: /tmp
- name: TMPDIR
  value: /tmp
{{- include "headrace.extraEnvironment" (include "headrace.storeVariables" . | fromJson) }}
{{- end -}}

{{/* JSON of what the values say of that environment. */}}
{{- define "headrace.storeVariables" -}}
{{- $bucket := dict -}}
{{- if .Values.secrets.bucketCredentials.secret -}}
{{- $data := .Values.serving.store.data -}}
{{- if hasPrefix "az://" $data -}}{{- fail "secrets.bucketCredentials is for s3:// and gs://: Azure's container is opened by the pods' workload identity" -}}{{- end -}}
{{- $variable := ternary "GOOGLE_APPLICATION_CREDENTIALS" "AWS_SHARED_CREDENTIALS_FILE" (hasPrefix "gs://" $data) -}}
{{- $_ := set $bucket $variable "/etc/headrace/secrets/bucket-credentials" -}}
{{- end -}}
{{- merge (dict) .Values.storeEnv $bucket | toJson -}}
{{- end -}}
