{{/* The worker group of one pool; dict root, pool (its name), at (its values). */}}
{{- define "headrace.worker" -}}
{{- $root := .root -}}
{{- $pool := include "headrace.pool" . | fromJson -}}
{{- $gpus := int $pool.gpus -}}
{{- $resources := deepCopy $pool.resources -}}
{{- $tolerations := $pool.tolerations -}}
{{- if $gpus -}}
{{- $_ := set $resources "limits" (merge (dict $pool.gpuResource $gpus) (default dict $resources.limits)) -}}
{{- $_ := set $resources "requests" (merge (dict $pool.gpuResource $gpus) (default dict $resources.requests)) -}}
{{- /* Nodes with GPUs commonly have a taint with the resource's name. */ -}}
{{- $tolerations = append $tolerations (dict "key" $pool.gpuResource "operator" "Exists" "effect" "NoSchedule") -}}
{{- end -}}
{{- $weights := $pool.weights -}}
{{- $folder := "/var/cache/headrace/weights" -}}
{{- $selector := merge (dict "app.kubernetes.io/component" "worker" "headrace.io/pool" .pool) (include "headrace.selector" $root | fromYaml) -}}
groupName: {{ .pool }}
replicas: {{ $pool.replicas | int64 }}
minReplicas: {{ (ternary $pool.minReplicas $pool.replicas $root.Values.autoscaling.enabled) | int64 }}
maxReplicas: {{ (ternary $pool.maxReplicas $pool.replicas $root.Values.autoscaling.enabled) | int64 }}
labels:
  # Label of the Ray nodes, by which Serve places the deployments of a pool.
  headrace.io/pool: {{ .pool }}
rayStartParams:
  {{- if $pool.cpus }}
  num-cpus: {{ $pool.cpus | int64 | quote }}
  {{- end }}
  num-gpus: {{ $gpus | quote }}
  object-store-memory: {{ $pool.objectStoreMemory | int64 | quote }}
  {{- include "headrace.agentPorts" $root | nindent 2 }}
  metrics-export-port: "8080"
  include-log-monitor: "no"
template:
  metadata:
    labels:
      {{- include "headrace.podLabels" (dict "root" $root "component" "worker") | nindent 6 }}
      headrace.io/pool: {{ .pool }}
      {{- with $pool.labels }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    annotations:
      {{- include "headrace.rayAnnotations" $pool.annotations | nindent 6 }}
  spec:
    serviceAccountName: {{ include "headrace.fullname" $root }}
    automountServiceAccountToken: false
    enableServiceLinks: false
    # Running streams may finish when the pod is deleted.
    terminationGracePeriodSeconds: {{ add (int $root.Values.streams.drainSeconds) 60 }}
    securityContext:
      {{- include "headrace.podSecurity" $root | nindent 6 }}
    {{- with $pool.runtimeClassName }}
    runtimeClassName: {{ . }}
    {{- end }}
    {{- $at := merge (dict "tolerations" $tolerations) (pick $pool "priorityClassName" "nodeSelector" "affinity") -}}
    {{- with include "headrace.placement" (dict "root" $root "at" $at) | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with $pool.topologySpread }}
    topologySpreadConstraints:
      {{- range . }}
      - topologyKey: {{ .topologyKey }}
        maxSkew: {{ .maxSkew | int }}
        whenUnsatisfiable: {{ .whenUnsatisfiable }}
        labelSelector:
          matchLabels:
            {{- toYaml $selector | nindent 12 }}
        # Ignore pods of the old cluster during an upgrade.
        matchLabelKeys: [ray.io/cluster]
      {{- end }}
    {{- end }}
    initContainers:
      # Wait for the database schema of this version.
      - name: wait
        {{- include "headrace.container" (dict "root" $root "image" $pool.image) | nindent 8 }}
        command: [python, -m, serving.store, wait]
        env:
          {{- include "headrace.storeEnvironment" $root | nindent 10 }}
        resources:
          {{- toYaml $root.Values.migrate.resources | nindent 10 }}
        volumeMounts:
          {{- include "headrace.storeMounts" $root | nindent 10 }}
      {{- include "headrace.exporter" (dict "root" $root "image" $pool.image) | nindent 6 }}
    containers:
      - name: ray-worker
        {{- include "headrace.container" (dict "root" $root "image" $pool.image) | nindent 8 }}
        {{- include "headrace.rayCommand" $root | nindent 8 }}
        ports:
          - {name: serve, containerPort: 8000}
          - {name: metrics, containerPort: 8080}
          - {name: haproxy, containerPort: 9101}
        env:
          {{- include "headrace.rayEnvironment" $root | nindent 10 }}
          # The head may be down for a while; its control state is restored from its volume.
          - name: RAY_gcs_rpc_server_reconnect_timeout_s
            value: {{ include "headrace.headPatience" $root | quote }}
          {{- $folders := ternary (dict "HEADRACE_WEIGHTS" $folder) (dict) (not (empty $weights.kind)) }}
          {{- with include "headrace.extraEnvironment" (merge (dict) $pool.env $folders (include "headrace.storeVariables" $root | fromJson)) | trim }}
          {{- . | nindent 10 }}
          {{- end }}
        readinessProbe:
          exec:
            command: [bash, -c, {{ include "headrace.workerReady" $root | quote }}]
          initialDelaySeconds: 5
          periodSeconds: 5
          timeoutSeconds: 10
          failureThreshold: 1
        startupProbe:
          exec:
            command: [bash, -c, {{ include "headrace.workerAlive" $root | quote }}]
          {{- include "headrace.rayStarts" $root | nindent 10 }}
        livenessProbe:
          exec:
            command: [bash, -c, {{ include "headrace.workerAlive" $root | quote }}]
          periodSeconds: 10
          timeoutSeconds: 10
          failureThreshold: 12
        lifecycle:
          preStop:
            exec:
              command:
                - bash
                - /etc/headrace/scripts/drain.sh
                - {{ $root.Values.streams.drainSeconds | int64 | quote }}
        resources:
          {{- toYaml $resources | nindent 10 }}
        volumeMounts:
          {{- include "headrace.rayMounts" $root | nindent 10 }}
          - name: secrets
            mountPath: /etc/headrace/secrets
            readOnly: true
          - name: scripts
            mountPath: /etc/headrace/scripts
            readOnly: true
          {{- with include "headrace.certificatesMount" $root }}
          {{- . | nindent 10 }}
          {{- end }}
          {{- if include "headrace.dataClaim" $root }}
          - name: data
            mountPath: {{ $root.Values.serving.store.data }}
          {{- end }}
          {{- if $weights.kind }}
          - name: fetched-weights
            mountPath: {{ $folder }}
          {{- end }}
          {{- with $pool.volumeMounts }}
          {{- toYaml . | nindent 10 }}
          {{- end }}
    volumes:
      {{- include "headrace.rayVolumes" (dict "root" $root "temporaryStorage" $pool.temporaryStorage) | nindent 6 }}
      {{- include "headrace.secretsVolume" (dict "root" $root) | nindent 6 }}
      - name: scripts
        configMap:
          name: {{ include "headrace.fullname" $root }}-scripts
      {{- include "headrace.configVolume" $root | nindent 6 }}
      {{- if include "headrace.dataClaim" $root }}
      - name: data
        persistentVolumeClaim:
          claimName: {{ include "headrace.dataClaim" $root }}
      {{- end }}
      {{- if eq (default "" $weights.kind) "ephemeral" }}
      - name: fetched-weights
        ephemeral:
          volumeClaimTemplate:
            spec:
              {{- include "headrace.weightsClaim" (dict "mode" "ReadWriteOnce" "pool" .pool "at" $weights) | nindent 14 }}
      {{- else if $weights.kind }}
      - name: fetched-weights
        persistentVolumeClaim:
          claimName: {{ default (printf "%s-weights-%s" (include "headrace.fullname" $root) .pool) $weights.existingClaim }}
      {{- end }}
      {{- with $pool.volumes }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
{{- end -}}

{{/* A claim for fetched weights; dict mode (of access), pool (its name), at (its `weights`). */}}
{{- define "headrace.weightsClaim" -}}
accessModes: [{{ .mode }}]
{{- with .at.storageClass }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ required (printf "pools.%s.weights.size is needed" .pool) .at.size }}
{{- end -}}

{{- define "headrace.workerAlive" -}}
wget --tries 1 -T 4 -q -O- http://127.0.0.1:52365/api/local_raylet_healthz | grep success
{{- end -}}

{{- define "headrace.workerReady" -}}
{{ include "headrace.workerAlive" . }} && wget --tries 1 -T 4 -q -O- http://127.0.0.1:8000/-/healthz | grep success
{{- end -}}
