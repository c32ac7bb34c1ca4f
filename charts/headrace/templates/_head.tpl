{{/* The head group: Ray's control processes, the dashboard proxy (`door`) and the exporter. The latter two are sidecars (init
containers that keep running): they are restarted for any restartPolicy (Never with KubeRay's autoscaling), and end last. */}}
{{- define "headrace.head" -}}
{{- $head := .Values.head -}}
{{- $rocksdb := eq $head.gcs.storage "rocksdb" -}}
{{- $workers := 0 -}}
{{- range $name, $values := .Values.pools -}}
{{- $pool := include "headrace.pool" (dict "root" $ "pool" $name "at" $values) | fromJson -}}
{{- $workers = add $workers (int (ternary $pool.minReplicas $pool.replicas $.Values.autoscaling.enabled)) -}}
{{- end -}}
rayStartParams:
  # Of Serve, only the controller runs here.
  num-cpus: "0"
  object-store-memory: {{ $head.objectStoreMemory | int64 | quote }}
  # The dashboard is reachable only inside this pod; other clients go through the dashboard proxy.
  dashboard-host: 127.0.0.1
  dashboard-port: "8266"
  {{- include "headrace.agentPorts" . | nindent 2 }}
  metrics-export-port: "8080"
  disable-usage-stats: "true"
  # Drivers have no terminal here, and logs are in files. The value is "no", since KubeRay omits "false".
  include-log-monitor: "no"
template:
  metadata:
    labels:
      {{- include "headrace.podLabels" (dict "root" . "component" "head") | nindent 6 }}
      {{- with $head.labels }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    annotations:
      {{- include "headrace.rayAnnotations" $head.annotations | nindent 6 }}
  spec:
    serviceAccountName: {{ include "headrace.fullname" . }}-head
    # Ray's autoscaler changes the RayCluster; its container mounts the token itself.
    automountServiceAccountToken: false
    enableServiceLinks: false
    terminationGracePeriodSeconds: 60
    securityContext:
      {{- include "headrace.podSecurity" . | nindent 6 }}
    {{- $at := pick $head "priorityClassName" "nodeSelector" "tolerations" -}}
    {{- $affinity := deepCopy $head.affinity -}}
    {{- if and $rocksdb (eq $head.gcs.rocksdb.accessMode "ReadWriteOnce") -}}
    {{- /* The heads of the old and the new cluster share a volume that only one node can mount. */ -}}
    {{- $self := dict "labelSelector" (dict "matchLabels" (merge (dict "app.kubernetes.io/component" "head") (include "headrace.selector" . | fromYaml))) "topologyKey" "kubernetes.io/hostname" -}}
    {{- $pods := default dict $affinity.podAffinity -}}
    {{- $required := append (default list $pods.requiredDuringSchedulingIgnoredDuringExecution) $self -}}
    {{- $_ := set $affinity "podAffinity" (merge (dict "requiredDuringSchedulingIgnoredDuringExecution" $required) $pods) -}}
    {{- end -}}
    {{- $_ := set $at "affinity" $affinity -}}
    {{- /* Kubernetes' default is 300 s, in which engines would wait for nothing. */ -}}
    {{- range list "node.kubernetes.io/not-ready" "node.kubernetes.io/unreachable" -}}
    {{- $stays := dict "key" . "operator" "Exists" "effect" "NoExecute" "tolerationSeconds" (int $head.tolerationSeconds) -}}
    {{- $_ := set $at "tolerations" (append $at.tolerations $stays) -}}
    {{- end -}}
    {{- with include "headrace.placement" (dict "root" . "at" $at) | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    initContainers:
      - name: door
        restartPolicy: Always
        {{- include "headrace.container" (dict "root" .) | nindent 8 }}
        command: [python, -m, serving.dashboard_proxy]
        args:
          - --listen=0.0.0.0:8265
          - --ray=http://127.0.0.1:8266
          - --token-file=/etc/headrace/ray/token
          - --document=/etc/headrace/serve/serve.json
          - --workers={{ $workers }}
        readinessProbe:
          httpGet: {path: /api/gcs_healthz, port: 8265}
          periodSeconds: 5
          timeoutSeconds: 10
          failureThreshold: 10
        livenessProbe:
          httpGet: {path: /healthz, port: 8265}
          initialDelaySeconds: 10
          periodSeconds: 20
          timeoutSeconds: 10
        resources:
          {{- toYaml $head.door.resources | nindent 10 }}
        volumeMounts:
          - name: ray-token
            mountPath: /etc/headrace/ray
            readOnly: true
          - name: serve
            mountPath: /etc/headrace/serve
            readOnly: true
      {{- include "headrace.exporter" (dict "root" .) | nindent 6 }}
    containers:
      - name: ray-head
        {{- include "headrace.container" (dict "root" .) | nindent 8 }}
        {{- include "headrace.rayCommand" . | nindent 8 }}
        ports:
          # KubeRay creates the head's Service from these ports; the dashboard proxy listens on 8265.
          - {name: gcs-server, containerPort: 6379}
          - {name: dashboard, containerPort: 8265}
          - {name: client, containerPort: 10001}
          - {name: serve, containerPort: 8000}
          - {name: metrics, containerPort: 8080}
          - {name: haproxy, containerPort: 9101}
        env:
          {{- include "headrace.rayEnvironment" . | nindent 10 }}
          {{- if $rocksdb }}
          - name: RAY_gcs_storage
            value: rocksdb
          - name: RAY_gcs_storage_path
            value: /var/lib/ray-gcs
          - name: HEADRACE_CLUSTER
            valueFrom:
              fieldRef:
                fieldPath: metadata.labels['ray.io/cluster']
          {{- end }}
          {{- with include "headrace.extraEnvironment" $head.env | trim }}
          {{- . | nindent 10 }}
          {{- end }}
        readinessProbe:
          exec:
            command: [bash, -c, {{ include "headrace.headHealthy" . | quote }}]
          initialDelaySeconds: 5
          periodSeconds: 5
          timeoutSeconds: 10
          failureThreshold: 10
        startupProbe:
          exec:
            command: [bash, -c, {{ include "headrace.headHealthy" . | quote }}]
          {{- include "headrace.rayStarts" . | nindent 10 }}
        livenessProbe:
          exec:
            command: [bash, -c, {{ include "headrace.headHealthy" . | quote }}]
          periodSeconds: 10
          timeoutSeconds: 10
          failureThreshold: 12
        resources:
          {{- toYaml $head.resources | nindent 10 }}
        volumeMounts:
          {{- include "headrace.rayMounts" . | nindent 10 }}
          {{- if $rocksdb }}
          # One folder per RayCluster, since the two heads during an upgrade have separate control states.
          - name: gcs
            mountPath: /var/lib/ray-gcs
            subPathExpr: $(HEADRACE_CLUSTER)
          {{- end }}
    volumes:
      {{- include "headrace.rayVolumes" (dict "root" .) | nindent 6 }}
      - name: serve
        configMap:
          name: {{ include "headrace.fullname" . }}-serve
      {{- if .Values.autoscaling.enabled }}
      # The token that Kubernetes itself would mount in every container.
      - name: kubernetes
        projected:
          defaultMode: 0440
          sources:
            - serviceAccountToken: {path: token, expirationSeconds: 3607}
            - configMap:
                name: kube-root-ca.crt
                items:
                  - {key: ca.crt, path: ca.crt}
            - downwardAPI:
                items:
                  - {path: namespace, fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}}
      {{- end }}
      {{- if $rocksdb }}
      - name: gcs
        persistentVolumeClaim:
          claimName: {{ default (printf "%s-gcs" (include "headrace.fullname" .)) $head.gcs.rocksdb.existingClaim }}
      {{- end }}
{{- end -}}

{{- define "headrace.headHealthy" -}}
wget --tries 1 -T 4 -q -O- http://127.0.0.1:52365/api/local_raylet_healthz | grep success && wget --tries 1 -T 4 -q -O- http://127.0.0.1:8266/api/gcs_healthz | grep success
{{- end -}}
